"""The web application, put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from app.runs import Registry
from app.settings import Settings

STATIC = Path(__file__).parents[1] / "static"


def create_app(settings: Settings) -> FastAPI:
    """The application that serves the runs of `settings.runs`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.registry.close()

    app = FastAPI(title="Keyscope", lifespan=lifespan)
    app.state.settings = settings
    app.state.registry = Registry(settings.runs)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app
