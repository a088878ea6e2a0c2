"""The labelling queue: take the next key, renew or release its lease, or skip it."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import Field

from keyscope.app.accounts.identity import Labeler
from keyscope.app.api.labels import WRITING, Done, LabelledKey
from keyscope.app.labels import leases
from keyscope.app.labels.queue import CALIBRATION, MOST_CALIBRATION, PEOPLE, Strategy, Wanted, next_key
from keyscope.app.web.dependencies import LabelsDatabase, OpenRun
from keyscope.app.web.shapes import Answer, Shape
from keyscope.contract.errors import KeyscopeError

router = APIRouter(tags=["labels"])


class KeyLeased(KeyscopeError, status=409):
    """Somebody else is labelling the key at the moment."""


class QueueBody(Shape):
    """Which keys to label."""

    strategy: Strategy = Strategy.SAMPLE
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the sample; the same seed gives everybody the same keys")
    people: int = Field(
        PEOPLE,
        ge=1,
        le=100,
        description="How many people label each key of the strategies sample and impact",
    )
    calibration: int = Field(
        CALIBRATION,
        ge=0,
        le=MOST_CALIBRATION,
        description="How many keys at the beginning of the sample everybody labels, before `people` counts",
    )
    list_id: int | None = Field(None, ge=1, lt=2**31, description="The list, for the strategy list")


class QueueAnswer(Answer):
    """The next key, and how much is left."""

    key: str | None = Field(description="The next key, leased to you; null if nothing is available for you now")
    left: int = Field(description="Keys still to label, including those leased to others")


class LeaseAnswer(Answer):
    """A lease."""

    expires_at: datetime


@router.post("/runs/{run}/queue", responses=WRITING)
def take_next_key(run: OpenRun, body: QueueBody, person: Labeler, database: LabelsDatabase) -> QueueAnswer:
    """The next key to label, leased to you for a few minutes so nobody else gets it."""
    wanted = Wanted(body.strategy, body.seed, body.people, body.calibration, body.list_id)
    offer = next_key(database, run, wanted, person.name)
    return QueueAnswer(key=None if offer.key is None else str(offer.key), left=offer.left)


@router.put("/runs/{run}/keys/{key}/lease", responses=WRITING)
def renew_lease(target: LabelledKey, person: Labeler, database: LabelsDatabase) -> LeaseAnswer:
    """Hold a key for a few more minutes, or take one that is free."""
    expires_at = database.write(lambda session: leases.take(session, target, person.name))
    if expires_at is None:
        holder = database.read(lambda session: leases.holder(session, target))
        raise KeyLeased(f"{holder or 'somebody else'} is labelling {target.key} at the moment: ask for the next key")
    return LeaseAnswer(expires_at=expires_at)


@router.delete("/runs/{run}/keys/{key}/lease", responses=WRITING)
def release_lease(target: LabelledKey, person: Labeler, database: LabelsDatabase) -> Done:
    """Release a key, if you hold it."""
    database.write(lambda session: leases.release(session, target, person.name))
    return Done()


@router.put("/runs/{run}/keys/{key}/skip", responses=WRITING)
def skip_key(target: LabelledKey, person: Labeler, database: LabelsDatabase) -> Done:
    """Release a key and do not get it again today."""
    database.write(lambda session: leases.skip(session, target, person.name))
    return Done()
