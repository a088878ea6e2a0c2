"""Names of operations in the OpenAPI documents."""

from starlette.routing import Route


def operation_id(route: Route) -> str:
    """The name of the route's function, which generated clients use as the name of their method."""
    return route.name
