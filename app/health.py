"""Health check for supervisors; opens no run file."""

from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from keyscope.app.accounts.identity import Visitor
from keyscope.app.web.dependencies import Runs, SettingsOf

router = APIRouter(tags=["operation"])


class Health(BaseModel):
    """The server answers."""

    ok: Literal[True] = True
    version: str | None = Field(None, description="Version of the server; not told to strangers")
    runs: int | None = Field(None, description="Number of run files; not told to strangers")


@router.get("/healthz", response_model_exclude_none=True)
def healthz(runs: Runs, settings: SettingsOf, visitor: Visitor) -> Health:
    """The server answers; where people sign in, only they learn its version and how many run files there are."""
    if settings.accounts == "accounts" and visitor is None:
        return Health()
    return Health(version=version("keyscope"), runs=len(runs.run_ids()))
