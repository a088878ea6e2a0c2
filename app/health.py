"""Health check for supervisors; opens no run file."""

from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from keyscope.app.web.dependencies import Runs

router = APIRouter(tags=["operation"])


class Health(BaseModel):
    """The server answers."""

    ok: Literal[True] = True
    version: str
    runs: int


@router.get("/healthz")
def healthz(runs: Runs) -> Health:
    """The version, and how many run files there are."""
    return Health(version=version("keyscope"), runs=len(runs.run_ids()))
