"""`/docs`: the API's documentation, drawn by Swagger UI from our own files."""

from pathlib import Path

import jinja2
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates

TEMPLATES = Path(__file__).parents[2] / "templates"
_templates = Jinja2Templates(env=jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True))

router = APIRouter(include_in_schema=False)


@router.get("/docs", name="docs")
def docs(request: Request) -> HTMLResponse:
    """The endpoints, each to be tried out."""
    return _templates.TemplateResponse(request, "docs.html")
