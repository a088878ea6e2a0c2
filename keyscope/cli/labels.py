"""`keyscope labels`: labels as files."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyscope.app.settings import Settings as ServerSettings
from keyscope.cli.db import open_labels
from keyscope.cli.options import DatabaseUrl, Json, RunsDirectory, fill, print_json

if TYPE_CHECKING:
    from keyscope.app.table_files import Format

group = typer.Typer(help="Labels of keys, as files.", no_args_is_help=True)


@group.command("export")
def export_labels(
    out: Annotated[
        Path, typer.Argument(metavar="FILE", help="File to write, .csv, .jsonl or .parquet", dir_okay=False)
    ],
    current: Annotated[
        bool, typer.Option("--current", help="Only current labels and decisions, without the history")
    ] = False,
    person: Annotated[str | None, typer.Option(help="Only labels and decisions of this person")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind")] = None,
    layer: Annotated[int | None, typer.Option(min=0, help="Only keys of this layer")] = None,
    weights: Annotated[str | None, typer.Option(help="Only keys of the weights with this sha256")] = None,
    per_key: Annotated[
        bool, typer.Option("--per-key", help="One row per key: current labels counted, majority and decision")
    ] = False,
    runs: RunsDirectory = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Write every label with its history, and every decision on a disputed key; or one row per key."""
    from keyscope.app.labels import key_records, records
    from keyscope.app.labels.models import Kind
    from keyscope.app.table_files import Sheet, save

    settings = fill(ServerSettings, runs=runs, database_url=database_url)
    if kind is not None and kind not in list(Kind):
        raise typer.BadParameter(f"{kind!r} is not a kind: choose one of {', '.join(Kind)}", param_hint="--kind")
    if per_key and (person or kind):
        raise typer.BadParameter(
            "rows per key count everybody's labels: leave out --person and --kind", param_hint="--per-key"
        )
    chosen = records.Filter(None, person, Kind(kind) if kind else None, layer, weights, current)
    with (
        open_labels(settings.labels_url) as labels,
        labels.transaction() as session,
        tempfile.TemporaryDirectory(dir=out.parent, prefix=".keyscope-") as directory,
    ):
        if per_key:
            sheet = Sheet(out.stem, key_records.COLUMNS, key_records.rows(session, weights, layer))
        else:
            sheet = Sheet(out.stem, records.COLUMNS, records.rows(session, chosen))
        save(sheet, _format_of(out), Path(directory)).replace(out)
    typer.echo(f"wrote the labels to {out}")


@group.command("import")
def import_labels(
    file: Annotated[Path, typer.Argument(help="An export, .csv, .jsonl or .parquet", exists=True, dir_okay=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check only, and show what would change")] = False,
    runs: RunsDirectory = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Import an export: all rows or none, and no row twice."""
    from keyscope.app.labels.importing import ImportRefused, import_file
    from keyscope.app.runs import Registry

    settings = fill(ServerSettings, runs=runs, database_url=database_url)
    registry = Registry(settings.runs)
    try:
        with open_labels(settings.labels_url) as labels:
            done = import_file(labels, registry, file, _format_of(file), dry_run)
    except ImportRefused as error:
        for each in error.problems[3:]:
            typer.echo(f"line {each.line}: {each.problem}", err=True)
        raise
    finally:
        registry.close()
    if as_json:
        print_json(dry_run=dry_run, added=done.added, changed=done.changed, unchanged=done.unchanged)
    else:
        would = "would be " if dry_run else ""
        typer.echo(f"{done.added:,} rows {would}added, {done.changed:,} labels {would}ended, {done.unchanged:,} known")


def _format_of(path: Path) -> "Format":
    from keyscope.app.errors import InvalidParameter
    from keyscope.app.table_files import format_of

    try:
        return format_of(path.name)
    except InvalidParameter as error:
        raise typer.BadParameter(error.detail, param_hint="FILE") from error
