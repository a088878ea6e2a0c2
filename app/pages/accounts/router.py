"""Pages about people: the name page without sign-in, account pages with it."""

from types import ModuleType

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from keyscope.app.pages.accounts import account, names, people, provider, sign_in


def _router(*pages: ModuleType) -> APIRouter:
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    for page in pages:
        router.include_router(page.router)
    return router


ROUTERS = {"none": _router(names), "accounts": _router(sign_in, provider, account, people)}
"""Routers by the setting `accounts`."""
