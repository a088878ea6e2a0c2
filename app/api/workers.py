"""Workers announce themselves here. Who knocks is no person: the token that server and workers share lets them in."""

import hmac

from fastapi import APIRouter, Depends, Request

from keyscope.app.live import directory
from keyscope.app.web.dependencies import LabelsDatabase, SettingsOf
from keyscope.app.web.shapes import failures
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.wire import ANNOUNCED_SECONDS, AnnouncedAnswer, WorkerAnnouncement

PATH = "/api/v1/workers"
"""Not under the credentials of people: admission passes it by."""


class WorkerTokenNeeded(KeyscopeError, status=401):
    """The request does not carry the token that server and workers share."""

    challenge = "Bearer"


async def _check_token(request: Request, settings: SettingsOf) -> None:
    token = settings.worker_token
    if token is None:
        raise WorkerTokenNeeded(
            "this server has no KEYSCOPE_WORKER_TOKEN, so workers cannot announce themselves: set it"
        )
    given = request.headers.get("authorization", "").encode("latin-1")
    if not hmac.compare_digest(given, f"Bearer {token.get_secret_value()}".encode()):
        raise WorkerTokenNeeded("send the server's KEYSCOPE_WORKER_TOKEN as Authorization: Bearer …")


router = APIRouter(tags=["live"], dependencies=[Depends(_check_token)], responses=failures(401, 422, 503))


@router.put(PATH)
def announce_worker(body: WorkerAnnouncement, database: LabelsDatabase) -> AnnouncedAnswer:
    """Say that a live worker is at an address, or about to leave it; for workers, which send the token they share with
    the server."""
    if body.leaving:
        database.write(lambda session: directory.take_leave(session, body.url))
        return AnnouncedAnswer(seconds=0)
    database.write(lambda session: directory.announce(session, body.url))
    return AnnouncedAnswer(seconds=ANNOUNCED_SECONDS)
