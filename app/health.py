"""Health check for supervisors; opens no run file."""

import time
from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from keyscope.app.accounts.identity import Visitor
from keyscope.app.runs import Registry
from keyscope.app.web.dependencies import SettingsOf

COUNTED_SECONDS = 1.0

router = APIRouter(tags=["operation"])


class Health(BaseModel):
    """The server answers."""

    ok: Literal[True] = True
    version: str | None = Field(None, description="Version of the server; not told to strangers")
    runs: int | None = Field(None, description="Number of run files; not told to strangers")


class RunCount:
    """The number of run files, looked up once a second at most."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._count = 0
        self._until = 0.0

    def __call__(self) -> int:
        """The number."""
        now = time.monotonic()
        if now >= self._until:
            self._count, self._until = len(self.registry.run_ids()), now + COUNTED_SECONDS
        return self._count


@router.get("/healthz", response_model_exclude_none=True)
async def healthz(request: Request, settings: SettingsOf, visitor: Visitor) -> Health:
    """The server answers; where people sign in, only they learn its version and how many run files there are."""
    if settings.accounts == "accounts" and visitor is None:
        return Health()
    count: RunCount = request.app.state.run_count
    return Health(version=version("keyscope"), runs=count())
