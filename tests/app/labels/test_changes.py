import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from keyscope.app.database.engine import Database
from keyscope.app.database.statements import about_keys
from keyscope.app.labels import adjudication, changes, comments, repository
from keyscope.app.labels.changes import KeyChanges
from keyscope.app.labels.models import Kind
from keyscope.app.labels.repository import Judgement, Target
from keyscope.contract.keys import KeyId

PATIENCE = 60
"""Seconds that a test waits, for the machine may be busy, for what takes none."""
PAUSE = 0.5
TARGET, OTHER = Target("a" * 64, KeyId(1, 2)), Target("b" * 64, KeyId(1, 2))


def state(database: Database, target: Target = TARGET) -> str:
    with database.transaction() as session:
        return changes.state(session, target)


def label(session: Session, kind: Kind = Kind.MIXED, target: Target = TARGET, person: str = "Ada") -> None:
    repository.put_label(session, target, person, Judgement(kind))


def test_every_change_is_another_state(database: Database):
    steps: list[Callable[[Session], object]] = [
        label,
        lambda s: label(s, Kind.SEMANTIC),
        lambda s: label(s, Kind.SEMANTIC, person="Ben"),
        lambda s: repository.retract_label(s, TARGET, "Ben"),
        lambda s: adjudication.decide(s, TARGET, "Eve", Kind.MIXED, "", 0),
        lambda s: adjudication.decide(s, TARGET, "Eve", None, "", 1),
        lambda s: comments.write(s, TARGET, "Ada", "one"),
        lambda s: comments.write(s, TARGET, "Ada", "two"),
        lambda s: comments.change(s, TARGET, 1, "Ada", "three", 1),
        lambda s: comments.take_back(s, TARGET, 2, "Ada"),
    ]
    seen = [state(database)]
    for step in steps:
        database.write(step)
        seen.append(state(database))
    assert all(before != after for before, after in pairwise(seen))
    assert seen[4] == seen[2], "what was taken back leaves what was there before"
    assert state(database) == seen[-1]


def test_keys_of_other_weights_change_by_themselves(database: Database):
    database.write(lambda session: label(session, target=OTHER))
    assert state(database) == "nothing"
    assert state(database, OTHER) != "nothing"


def test_many_keys_are_asked_about_at_once(database: Database):
    database.write(label)
    targets = [Target("a" * 64, KeyId(1, index)) for index in range(450)]
    with database.transaction() as session:
        found = changes.states(session, targets)
    assert [target.key.index for target, state in found.items() if state != "nothing"] == [2]


def test_followers_hear_of_changes_and_nobody_is_asked_after_they_left(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    asked = 0
    read = changes.states

    def counting(session: Session, targets: list[Target]) -> dict[Target, str]:
        nonlocal asked
        asked += 1
        return read(session, targets)

    monkeypatch.setattr(changes, "states", counting)

    async def scenario() -> None:
        watching = KeyChanges(database, seconds=0.01)
        first, second = (watching.follow(TARGET, "nothing") for _ in range(2))
        waiting = [asyncio.create_task(anext(each)) for each in (first, second)]
        await asyncio.sleep(0.05)
        assert watching.watched == 2
        assert not any(task.done() for task in waiting)
        # Another process is another engine: nothing but the database connects the two.
        elsewhere = Database(database.url.render_as_string(hide_password=False))
        await asyncio.to_thread(elsewhere.write, label)
        elsewhere.close()
        heard = await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE)
        assert heard == [state(database)] * 2
        await first.aclose()
        await second.aclose()
        assert watching.watched == 0
        # Nobody looks, so asking ends by itself.
        assert watching._asking is not None
        await asyncio.wait_for(watching._asking, PATIENCE)
        before = asked
        await asyncio.sleep(0.1)
        assert asked == before
        await watching.close()

    asyncio.run(scenario())


def test_one_question_serves_all_who_look(database: Database, monkeypatch: pytest.MonkeyPatch):
    questions: list[set[Target]] = []
    enough, read = threading.Event(), changes.states

    def counting(session: Session, targets: list[Target]) -> dict[Target, str]:
        questions.append(set(targets))
        if len(questions) == 3:
            enough.set()
        return read(session, targets)

    monkeypatch.setattr(changes, "states", counting)

    async def scenario() -> float:
        watching = KeyChanges(database, seconds=PAUSE)
        followers = [watching.follow(target, "nothing") for target in [TARGET] * 20 + [OTHER]]
        began = time.monotonic()
        waiting = [asyncio.create_task(anext(each)) for each in followers]
        assert await asyncio.to_thread(enough.wait, PATIENCE)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await watching.close()
        return time.monotonic() - began

    seconds = asyncio.run(scenario())
    assert len(questions) <= seconds / PAUSE + 1, "twenty-one who look would ask more often"
    assert questions[-1] == {TARGET, OTHER}


def test_a_database_that_is_away_is_waited_for(database: Database, monkeypatch: pytest.MonkeyPatch):
    read, failures = changes.states, 2

    def failing(session: Session, targets: list[Target]) -> dict[Target, str]:
        nonlocal failures
        if failures:
            failures -= 1
            raise changes.DatabaseUnavailable("away")
        return read(session, targets)

    monkeypatch.setattr(changes, "states", failing)
    database.write(label)

    async def scenario() -> str:
        watching = KeyChanges(database, seconds=0.01)
        follower = watching.follow(TARGET, "nothing")
        heard = await asyncio.wait_for(anext(follower), PATIENCE)
        await follower.aclose()
        await watching.close()
        return heard

    assert asyncio.run(scenario()) == state(database)
    assert failures == 0


def test_a_key_is_looked_up_by_the_index(database: Database):
    if database.url.get_backend_name() != "sqlite":
        pytest.skip("PostgreSQL chooses by the size of the table")
    plan = str(
        changes._counts(partial(about_keys, weights_sha256="a" * 64, keys=[KeyId(1, 2), KeyId(3, 4)])).compile(
            database.engine, compile_kwargs={"literal_binds": True}
        )
    )
    with database.transaction() as session:
        steps = " ".join(str(row) for row in session.execute(text(f"EXPLAIN QUERY PLAN {plan}")))
    assert "labels_of_key (weights_sha256=? AND layer=? AND key_index=? AND stack=?)" in steps
