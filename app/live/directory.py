"""Where the live workers are: at fixed addresses, at all addresses of a name in DNS, or where they say they are.

A worker announces itself to the server, with the token that both share, and the server keeps a row that soon expires.
It could as well write that row itself, but then it would have to hold the password of the labels database, and whoever
took over a worker could read and change what people said. This way it learns nothing that it does not have already, and
only who has the token decides where prompts are sent.
"""

import asyncio
import ipaddress
import logging
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from sqlalchemy import delete, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from keyscope.app.database.engine import Database, DatabaseUnavailable
from keyscope.app.database.statements import insert_into
from keyscope.app.live.models import AnnouncedWorker
from keyscope.contract.wire import ANNOUNCED_SECONDS

FRESH_SECONDS = 2.0
"""How long what was looked up is used."""
BY_NAME = "dns+http"
"""Scheme of an address that stands for all addresses of its name. A certificate would not fit them, so there is no https."""

log = logging.getLogger(__name__)


class Directory:
    """The addresses of the workers at the moment.

    Args:
        places: addresses of workers, such as `http://worker:8001` or, for every address of the name, `dns+http://worker:8001`.
        database: where announced workers are kept; None if workers may not announce themselves.
    """

    def __init__(self, places: Sequence[str], database: Database | None = None) -> None:
        self._fixed = [place.rstrip("/") for place in places if urlsplit(place).scheme != BY_NAME]
        self._names = {place: [] for place in places if urlsplit(place).scheme == BY_NAME}  # type: dict[str, list[str]]
        self._database = database
        self._announced: list[str] = []
        self._looked_up = float("-inf")
        self._lock = asyncio.Lock()

    @property
    def expected(self) -> bool:
        """Whether it has places to look at."""
        return bool(self._fixed or self._names or self._database)

    @property
    def problems(self) -> list[str]:
        """What keeps workers from being found."""
        return [
            f"{place} has no address: check KEYSCOPE_WORKER_URLS" for place, urls in self._names.items() if not urls
        ]

    async def urls(self) -> list[str]:
        """The addresses, each once, looked up again every few seconds."""
        async with self._lock:
            if time.monotonic() - self._looked_up > FRESH_SECONDS:
                await self._look_up()
                self._looked_up = time.monotonic()
        found = [*self._fixed, *(url for urls in self._names.values() for url in urls), *self._announced]
        return list(dict.fromkeys(found))

    async def _look_up(self) -> None:
        for place in self._names:
            try:
                self._names[place] = await _addresses(place)
            except OSError as error:  # keep the last answer: a resolver that fails ends no worker
                log.warning("%s cannot be looked up: %s", place, error)
        if self._database is not None:
            try:
                self._announced = await run_in_threadpool(self._database.read, _announced)
            except DatabaseUnavailable as error:
                log.warning("announced workers cannot be read: %s", error)


def announce(session: Session, url: str) -> None:
    """Note that a worker is at an address, for a while."""
    expires_at = datetime.now(UTC) + timedelta(seconds=ANNOUNCED_SECONDS)
    statement = insert_into(session, AnnouncedWorker).values(url=url, expires_at=expires_at)
    known = statement.on_conflict_do_update(index_elements=[AnnouncedWorker.url], set_={"expires_at": expires_at})
    session.execute(known)
    session.execute(delete(AnnouncedWorker).where(AnnouncedWorker.expires_at < datetime.now(UTC)))


def take_leave(session: Session, url: str) -> None:
    """Note that a worker is gone."""
    session.execute(delete(AnnouncedWorker).where(AnnouncedWorker.url == url))


def _announced(session: Session) -> list[str]:
    there = select(AnnouncedWorker.url).where(AnnouncedWorker.expires_at >= datetime.now(UTC))
    return list(session.scalars(there.order_by(AnnouncedWorker.url)))


async def _addresses(place: str) -> list[str]:
    """`http://` and every address of a place's name, in a fixed order.

    Raises:
        OSError: the name cannot be looked up.
    """
    parts = urlsplit(place)
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
    hosts = sorted({ipaddress.ip_address(address[0]) for *_, address in found}, key=str)
    port = f":{parts.port}" if parts.port else ""
    return [f"http://[{host}]{port}" if host.version == 6 else f"http://{host}{port}" for host in hosts]
