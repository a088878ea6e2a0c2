"""Paths of an application's routes by name."""

from functools import cached_property
from typing import cast

from fastapi.routing import RouteContext, iter_route_contexts
from starlette.applications import Starlette
from starlette.routing import NoMatchFound


class Addresses:
    """The paths of an application's routes, looked up by name.

    Starlette tries one route after another for every address; on a page of a hundred links that takes as long as
    everything else together.
    """

    def __init__(self, app: Starlette) -> None:
        self._app = app

    @cached_property
    def _by_name(self) -> dict[str | None, list[RouteContext]]:
        found: dict[str | None, list[RouteContext]] = {}
        # A page and an endpoint may share a name; parameters that do not fit into a path become its query, so of two
        # paths the one that takes more parameters is meant.
        for route in sorted(iter_route_contexts(self._app.routes), key=lambda route: -len(route.param_convertors)):
            found.setdefault(route.name, []).append(route)
        return found

    def find(self, name: str, parameters: dict[str, object]) -> tuple[str, dict[str, object]]:
        """The path of a route, without the prefix of a reverse proxy, and the parameters that are not part of it.

        Raises:
            NoMatchFound: no route of that name can be filled with these parameters.
        """
        for route in self._by_name.get(name, []):
            names = route.param_convertors
            try:
                path = route.url_path_for(name, **{each: parameters[each] for each in names if each in parameters})
            except NoMatchFound:
                continue
            return cast("str", path), {each: value for each, value in parameters.items() if each not in names}
        raise NoMatchFound(name, parameters)
