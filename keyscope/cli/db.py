"""`keyscope db`, and how commands open the labels database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from keyscope.app.settings import Settings as ServerSettings
from keyscope.cli.options import DatabaseUrl, fill

if TYPE_CHECKING:
    from keyscope.app.database.engine import Database

group = typer.Typer(help="The labels database.", no_args_is_help=True)


@group.command("upgrade")
def upgrade_database(database_url: DatabaseUrl = None) -> None:
    """Bring the labels database to this version's schema."""
    from keyscope.app.database.engine import upgrade

    upgrade(fill(ServerSettings, database_url=database_url).labels_url)
    typer.echo("the labels database is up to date")


@contextmanager
def open_labels(database_url: str | None) -> "Iterator[Database]":
    """Open the labels database, creating missing tables."""
    from keyscope.app.database.engine import Database

    opened = Database(fill(ServerSettings, database_url=database_url).labels_url)
    try:
        opened.create_missing()
        yield opened
    finally:
        opened.close()
