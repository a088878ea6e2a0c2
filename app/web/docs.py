"""`/docs`: the API's documentation, drawn by Swagger UI from our own files."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from keyscope.app.web.links import Links
from keyscope.app.web.render import templates

router = APIRouter(include_in_schema=False)


@router.get("/docs", name="docs")
def docs(request: Request) -> HTMLResponse:
    """The endpoints, each with a form to try it."""
    return templates.TemplateResponse(request, "docs.html", {"links": Links(request)})
