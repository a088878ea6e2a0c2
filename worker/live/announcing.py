"""Tells the server, over and over, where this worker is, so that nobody has to configure it there."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.wire import ANNOUNCED_SECONDS, ErrorAnswer, WorkerAnnouncement
from keyscope.worker.live.settings import WorkerSettings

EVERY_SECONDS = ANNOUNCED_SECONDS / 4
TIMEOUT_SECONDS = 3.0
_PATH = "/api/v1/workers"

log = logging.getLogger(__name__)


class CannotAnnounce(KeyscopeError):
    """The settings do not say what the server has to know."""


def own_address(settings: WorkerSettings) -> str:
    """The address by which the server reaches this worker: the one that is set, or the one from which it is reached.

    Raises:
        CannotAnnounce: no token is set, the port is not known, or the server's name cannot be looked up.
    """
    server = urlsplit(settings.register_with or "")
    if settings.token is None or server.scheme not in ("http", "https") or not server.hostname:
        raise CannotAnnounce(
            f"this worker cannot announce itself to {settings.register_with!r}: name the server as http://HOST:PORT, and "
            "set KEYSCOPE_WORKER_TOKEN, here and there"
        )
    if settings.address is not None:
        return settings.address.rstrip("/")
    if settings.port == 0:
        raise CannotAnnounce("a worker that takes a free port cannot announce it: give --port")
    try:
        where = socket.getaddrinfo(server.hostname, server.port or 80, type=socket.SOCK_DGRAM)[0]
        with socket.socket(where[0], where[1]) as probe:
            probe.connect(where[4])  # sends nothing, but chooses the way there
            host = probe.getsockname()[0]
    except OSError as error:
        raise CannotAnnounce(
            f"the server {server.hostname} cannot be looked up ({error}): correct --register-with, or say by --address how it "
            "reaches this worker"
        ) from error
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


@asynccontextmanager
async def announced(settings: WorkerSettings) -> AsyncIterator[None]:
    """Announce the worker while the block runs, and take leave at its end; without `register_with` do nothing.

    Raises:
        CannotAnnounce: see `own_address`.
    """
    if settings.register_with is None or settings.token is None:
        if settings.register_with is not None:
            own_address(settings)
        yield
        return
    url = await asyncio.to_thread(own_address, settings)
    headers = {"Authorization": f"Bearer {settings.token.get_secret_value()}"}
    server = settings.register_with.rstrip("/")
    async with httpx.AsyncClient(base_url=server, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        repeating = asyncio.create_task(_repeat(client, url))
        try:
            yield
        finally:
            repeating.cancel()
            await asyncio.gather(repeating, return_exceptions=True)
            await _tell(client, url, leaving=True)


async def _repeat(client: httpx.AsyncClient, url: str) -> None:
    said: str | None = ""
    while True:
        problem = await _tell(client, url)
        if problem != said:  # what goes on is said once
            log.warning("%s", problem) if problem else log.info("announced to %s as %s", client.base_url, url)
        said = problem
        await asyncio.sleep(EVERY_SECONDS)


async def _tell(client: httpx.AsyncClient, url: str, leaving: bool = False) -> str | None:
    """Announce the worker once; returns why that failed."""
    said = WorkerAnnouncement(url=url, leaving=leaving).model_dump()
    try:
        answer = await client.put(_PATH, json=said)
    except httpx.HTTPError as error:
        return f"{client.base_url} does not answer, so it is not told of this worker: {error or type(error).__name__}"
    if answer.is_success:
        return None
    try:
        why = ErrorAnswer.model_validate_json(answer.content).detail
    except ValueError:
        why = f"status {answer.status_code}"
    return f"{client.base_url} does not take this worker: {why}"
