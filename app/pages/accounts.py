"""The pages about who people are: one for where nobody signs in, the others for where people do."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from app.pages import account, names, people, provider, sign_in
from app.settings import Settings


def router(settings: Settings) -> APIRouter:
    """The pages that mean something under these settings."""
    pages = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    chosen = (names,) if settings.accounts == "none" else (sign_in, provider, account, people)
    for page in chosen:
        pages.include_router(page.router)
    return pages
