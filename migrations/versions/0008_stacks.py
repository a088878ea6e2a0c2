"""Keys of encoder–decoders are in one of two stacks; keys said so far are of models with one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | Sequence[str] | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

KEY = ["layer", "key_index"]
STACK = "The stack the layer is in: E or D in an encoder–decoder, else L"
CONSTRAINTS = {
    "adjudications": ("adjudications_one_after_another", ["weights_sha256"], ["number"]),
    "key_list_entries": ("key_list_entries_each_key_once", ["list_id"], []),
}
INDICES = {
    "labels_one_current": ("labels", ["person"]),
    "labels_of_key": ("labels", []),
    "comments_of_key": ("comments", []),
}


def upgrade() -> None:
    with _without_indices([*KEY, "stack"]):
        for table in ("labels", "comments"):
            op.add_column(table, _stack())
    for table, (name, before, after) in CONSTRAINTS.items():
        with op.batch_alter_table(table) as batch:
            batch.add_column(_stack())
            batch.drop_constraint(name, type_="unique")
            batch.create_unique_constraint(name, [*before, *KEY, "stack", *after])
    _make_queue(stacks=True)


def downgrade() -> None:
    # what was said about the stacks of encoder–decoders has no place in the older tables
    for table in ("labels", "comments", "adjudications", "key_list_entries"):
        op.execute(f"DELETE FROM {table} WHERE stack <> 'L'")  # noqa: S608 - our own names
    with _without_indices(KEY):
        for table in ("labels", "comments"):
            with op.batch_alter_table(table) as batch:
                batch.drop_column("stack")
    for table, (name, before, after) in CONSTRAINTS.items():
        with op.batch_alter_table(table) as batch:
            batch.drop_constraint(name, type_="unique")
            batch.create_unique_constraint(name, [*before, *KEY, *after])
            batch.drop_column("stack")
    _make_queue(stacks=False)


def _stack() -> "sa.Column[str]":
    return sa.Column("stack", sa.String(1), server_default="L", nullable=False, comment=STACK)


@contextmanager
def _without_indices(key: list[str]) -> Iterator[None]:
    """Remove the indices over keys, and make them anew over `key`."""
    for name, (table, _) in INDICES.items():
        op.drop_index(name, table_name=table)
    yield
    for name, (table, after) in INDICES.items():
        current = sa.text("superseded_at IS NULL") if after else None
        op.create_index(
            name,
            table,
            ["weights_sha256", *key, *after],
            unique=bool(after),
            sqlite_where=current,
            postgresql_where=current,
        )


def _make_queue(stacks: bool) -> None:
    """Make the tables of the queue anew: what they hold lasts a day at most."""
    op.drop_table("skips")
    op.drop_table("leases")
    names = [*KEY, "stack"] if stacks else KEY
    op.create_table(
        "leases",
        sa.Column("weights_sha256", sa.String(64), nullable=False, comment="Weights the key belongs to"),
        *_key(stacks),
        sa.Column("person", sa.String(100), nullable=False, comment="Display name of who has it"),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, comment="When it is free again"),
        sa.PrimaryKeyConstraint("weights_sha256", *names),
    )
    op.create_table(
        "skips",
        sa.Column("weights_sha256", sa.String(64), nullable=False, comment="Weights the key belongs to"),
        sa.Column("person", sa.String(100), nullable=False, comment="Display name of who skipped it"),
        *_key(stacks),
        sa.Column("skipped_at", sa.DateTime(timezone=True), nullable=False, comment="When it was last skipped"),
        sa.PrimaryKeyConstraint("weights_sha256", "person", *names),
    )


def _key(stacks: bool) -> list[sa.Column[int] | sa.Column[str]]:
    return [
        sa.Column("layer", sa.Integer(), nullable=False, comment="Layer of the key, from 0"),
        sa.Column("key_index", sa.Integer(), nullable=False, comment="Index of the key in its layer, from 0"),
        *([_stack()] if stacks else []),
    ]
