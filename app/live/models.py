"""The tables of live work: jobs that people started, and workers that announced themselves."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from keyscope.app.database.base import Base, Moment


class JobRecord(Base):
    """A job as its worker last told it; a worker forgets its jobs when it restarts, this table does not."""

    __tablename__ = "jobs"
    __table_args__ = (Index("jobs_by_time", "submitted_at"), Index("jobs_by_state", "state"))

    id: Mapped[str] = mapped_column(String(40), primary_key=True, comment="Its worker's name for it")
    worker: Mapped[str] = mapped_column(String(300), comment="Address of the worker that computes it")
    run: Mapped[str] = mapped_column(String(255), comment="Run it is about")
    state: Mapped[str] = mapped_column(String(20), comment="queued, running, done, failed or cancelled")
    submitted_at: Mapped[datetime] = mapped_column(Moment, comment="When it was started")
    seen_at: Mapped[datetime] = mapped_column(Moment, comment="When its worker told of it last")
    told: Mapped[dict[str, Any]] = mapped_column(JSON, comment="What its worker told, as the JSON API shows it")


class AnnouncedWorker(Base):
    """A live worker that said where it is; it repeats that for as long as it runs."""

    __tablename__ = "workers"

    url: Mapped[str] = mapped_column(String(300), primary_key=True, comment="Address by which the server reaches it")
    expires_at: Mapped[datetime] = mapped_column(Moment, comment="When it counts as gone, unless it says so again")
