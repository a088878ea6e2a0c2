"""Assembles the web application."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from keyscope.app import health, metrics
from keyscope.app.accounts import people
from keyscope.app.accounts.oidc import provider_of
from keyscope.app.api import workers as announcing
from keyscope.app.api.openapi import describe
from keyscope.app.api.router import json_router
from keyscope.app.concepts.previews import Previews
from keyscope.app.database.engine import Database, DatabaseUnavailable
from keyscope.app.labels.changes import KeyChanges
from keyscope.app.live.client import Workers
from keyscope.app.live.directory import Directory
from keyscope.app.live.jobs import Jobs
from keyscope.app.live.measurements import Measurements
from keyscope.app.metrics import CountRequests, Metrics
from keyscope.app.pages.accounts import router as accounts
from keyscope.app.pages.router import navigation, page_router
from keyscope.app.runs import Registry
from keyscope.app.settings import Settings
from keyscope.app.web import docs, error_handlers
from keyscope.app.web.addresses import Addresses
from keyscope.app.web.admission import AdmitSignedIn
from keyscope.app.web.by_word import AdmitByWord
from keyscope.app.web.delivery.compression import compression
from keyscope.app.web.delivery.static_files import VersionedFiles
from keyscope.app.web.error_handlers import CatchUnexpected
from keyscope.app.web.error_pages import error_page
from keyscope.app.web.overload import ShedLoad, provide_threads
from keyscope.app.web.security import MAX_BODY_BYTES, PathPrefix, SecurityHeaders, refuse_cross_site
from keyscope.serving.bodies import CountedBody
from keyscope.serving.heads import AnswerHead
from keyscope.serving.openapi import operation_id
from keyscope.serving.requests import NameRequests

STATIC = Path(__file__).parents[1] / "static"
DESCRIPTION = "Keys of code language models: their triggers, statistics and values, labels of them, and live masking."

log = logging.getLogger(__name__)


def _guarded(*routers: APIRouter) -> APIRouter:
    """The routers as one that refuses forms of other sites."""
    guarded = APIRouter(dependencies=[Depends(refuse_cross_site)], generate_unique_id_function=operation_id)
    for router in routers:
        guarded.include_router(router)
    return guarded


def routes() -> list[BaseRoute]:
    """Every route but those of the accounts, which depend on their mode."""
    return _guarded(json_router(), announcing.router, health.router, metrics.router, docs.router, page_router()).routes


# Shared by every application of a process: FastAPI resolves each included route at its first request, which is slow.
ROUTES = routes()
ACCOUNT_ROUTES = {mode: _guarded(router).routes for mode, router in accounts.ROUTERS.items()}


def create_app(settings: Settings) -> FastAPI:
    """The application that serves the runs of `settings.runs`; nothing is opened until it starts."""
    counters = Metrics()
    database = Database(settings.labels_url)
    app = FastAPI(
        title="Keyscope",
        description=DESCRIPTION,
        version=version("keyscope"),
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        routes=[*ROUTES, *ACCOUNT_ROUTES[settings.accounts]],
        middleware=[
            Middleware(NameRequests),
            Middleware(AnswerHead),
            Middleware(PathPrefix, prefix=settings.root_path, trusted_hosts=settings.trusted_proxies),
            Middleware(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_proxies),
            Middleware(SecurityHeaders),
            Middleware(CountRequests, metrics=counters),
            compression(),
            Middleware(CatchUnexpected, error_page=error_page),
            Middleware(ShedLoad),
            _admission(settings, database),
            Middleware(CountedBody, limit=MAX_BODY_BYTES),
        ],
    )
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    app.state.addresses = Addresses(app)
    app.state.navigation = navigation()
    app.state.settings = settings
    app.state.metrics = counters
    app.state.registry = Registry(settings.runs)
    app.state.run_count = health.RunCount(app.state.registry)
    app.state.database = database
    app.state.changes = KeyChanges(database)
    app.state.previews = Previews()
    app.state.provider = provider_of(settings)
    app.state.workers = _workers(settings, database)
    app.state.jobs = Jobs(app.state.workers, database, app.state.registry)
    app.state.measurements = Measurements(app.state.workers)
    files = VersionedFiles(STATIC)
    app.state.static_version = files.version
    app.mount("/static", files, name="static")
    error_handlers.install(app, error_page)
    return app


def _workers(settings: Settings, database: Database) -> Workers:
    token = settings.worker_token
    directory = Directory(settings.worker_urls, database if token else None)
    return Workers(directory, token.get_secret_value() if token else None, settings.worker_timeout)


def _admission(settings: Settings, database: Database) -> Middleware:
    if settings.accounts == "accounts":
        return Middleware(AdmitSignedIn, database=database)
    return Middleware(AdmitByWord, trusted_hosts=settings.trusted_hosts)


def prepare_labels(settings: Settings) -> None:
    """Make the labels database if it is missing, before several processes would all do so."""
    database = Database(settings.labels_url)
    try:
        database.create_missing()
    except DatabaseUnavailable as error:
        log.warning("%s", error)
    finally:
        database.close()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    provide_threads()
    try:
        app.state.database.create_missing()
        if app.state.settings.accounts == "accounts" and not app.state.database.read(people.everyone):
            log.warning("nobody can sign in yet: make an admin by `keyscope users add NAME --role admin`")
    except DatabaseUnavailable as error:
        # Only labels need the database; requests that need it report the error.
        log.warning("%s", error)
    yield
    await run_in_threadpool(app.state.previews.close)
    await app.state.changes.close()
    await app.state.measurements.close()
    await app.state.workers.close()
    app.state.database.close()
    app.state.registry.close()
