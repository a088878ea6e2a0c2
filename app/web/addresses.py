"""Where each route of an application is, by its name."""

from functools import cached_property
from typing import cast

from fastapi.routing import RouteContext, iter_route_contexts
from starlette.applications import Starlette
from starlette.routing import NoMatchFound


class Addresses:
    """The paths of an application's routes, looked up by name.

    Starlette asks one route after another for every address, which for a page of a hundred links takes as long as
    everything else.
    """

    def __init__(self, app: Starlette) -> None:
        self._app = app

    @cached_property
    def _by_name(self) -> dict[str | None, list[RouteContext]]:
        found: dict[str | None, list[RouteContext]] = {}
        for route in iter_route_contexts(self._app.routes):
            found.setdefault(route.name, []).append(route)
        return found

    def path(self, name: str, **parameters: object) -> str:
        """The path of a route, without the prefix that a reverse proxy gives it.

        Raises:
            NoMatchFound: no route of that name has these parameters.
        """
        for route in self._by_name.get(name, []):
            try:
                return cast("str", route.url_path_for(name, **parameters))
            except NoMatchFound:
                continue
        raise NoMatchFound(name, parameters)
