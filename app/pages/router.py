"""Every page in one router."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from app.pages import figures, jobs, jump, key, labels, layer, live, overview, queue, runs

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
for page in (runs, overview, layer, key, labels, queue, figures, jobs, jump, live):
    router.include_router(page.router)
