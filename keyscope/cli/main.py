"""The command line: the one place that knows every room, each imported only by the command that needs it."""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError
from typer.core import TyperGroup

from keyscope.app.roles import Role
from keyscope.app.settings import Settings as ServerSettings
from keyscope.contract.analyses.kinds import KINDS
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.manifest import Preset, RunSettings
from keyscope.worker.live.settings import WorkerSettings
from keyscope.worker.model.source import ModelSource

if TYPE_CHECKING:
    from fastapi import FastAPI
    from sqlalchemy.orm import Session

    from keyscope.app.database.engine import Database
    from keyscope.app.labels.import_files import Format

FAILED = 1
INTERRUPTED = 130
SHUTDOWN_SECONDS = 5
"""How long open streams may take when a server stops."""

M = TypeVar("M", bound=BaseModel)


class Commands(TyperGroup):
    """Ends with one sentence and an exit code where a command ends with an error meant for people."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyscopeError as error:
            _complain(error.detail)
            raise typer.Exit(FAILED) from error
        except KeyboardInterrupt as error:
            _complain("interrupted")
            raise typer.Exit(INTERRUPTED) from error


cli = typer.Typer(
    cls=Commands,
    help="Browse, label and mask the feed-forward neurons (keys) of code language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
database = typer.Typer(help="The labels database.", no_args_is_help=True)
cli.add_typer(database, name="db")
users = typer.Typer(help="Who may sign in, and what they may do.", no_args_is_help=True)
cli.add_typer(users, name="users")
decided = typer.Typer(help="What people said about keys, as files.", no_args_is_help=True)
cli.add_typer(decided, name="labels")


def main() -> None:
    """Entry point of the `keyscope` command."""
    # idle threads that spin take the cores from everybody else: on a busy machine torch gets ten times slower by it
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for variable in ("HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"):
        os.environ.setdefault(variable, "1")  # bars of libraries would break into ours
    cli()


def _field(model: type[BaseModel], name: str, **more: Any) -> Any:
    """An option for a field; what it means and its default stand at the field alone."""
    field = model.model_fields[name]
    shown = False if field.is_required() or field.default in (None, "") else str(field.default)
    return typer.Option(help=field.description or name.replace("_", " ").capitalize(), show_default=shown, **more)


def _fill(kind: type[M], /, **given: object) -> M:
    """An instance with what was given on the command line; the rest comes from the environment, or is the default."""
    try:
        return kind(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        variable = f"{kind.model_config.get('env_prefix', '')}{name.upper()}"
        is_option = given.get(name) is not None or first["type"] == "missing"
        hint = f"--{name.replace('_', '-')}" if is_option else variable
        raise typer.BadParameter(first["msg"], param_hint=hint) from error


def _complain(sentence: str) -> None:
    typer.secho(sentence, fg=typer.colors.RED, err=True)


def _stop_with_input(wanted: bool) -> None:
    """Start the watch before anything slow is imported."""
    if wanted:
        from keyscope.cli.supervise import stop_with_input

        stop_with_input()


MODEL = "nano, smollm2, a local folder, a GGUF file or a hub name"
CORPUS = (
    "Directory, archive (.zip .whl .jar .tar.gz .tar.xz), .jsonl or .parquet, hf:NAME[:CONFIG], or demo; repeatable"
)
RunFile = Annotated[Path, typer.Argument(metavar="RUN", help="Run file (.duckdb)", exists=True, dir_okay=False)]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs")]
PersonName = Annotated[str, typer.Argument(metavar="NAME", help="The person's name, as labels bear it")]
DatabaseUrl = Annotated[str | None, _field(ServerSettings, "database_url")]
Device = Annotated[str, _field(WorkerSettings, "device")]
StopWithInput = Annotated[bool, typer.Option("--stop-with-input", hidden=True, callback=_stop_with_input)]


@cli.callback(invoke_without_command=True)
def _root(wants_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if wants_version:
        typer.echo(version("keyscope"))
        raise typer.Exit


@cli.command()
def demo(
    model: Annotated[str, typer.Option(help=MODEL)] = "nano",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the pages; otherwise 8000 or the next free one")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Directory for run, labels and logs")] = Path("runs"),
    files_per_language: Annotated[
        int | None, typer.Option(min=1, help="Files of each language; otherwise as many as are read in a few minutes")
    ] = None,
) -> None:
    """Show real keys in the browser: compute a run over installed code, unless it is there, and serve it."""
    from keyscope.app.database.engine import upgrade
    from keyscope.cli.console import told
    from keyscope.cli.demo import choose_ports, prepare, services
    from keyscope.cli.supervise import supervise

    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts what it puts into the background deaf to SIGINT
        signal.signal(number, signal.default_int_handler)
    server_port, worker_port = choose_ports(port)
    settings = _fill(ServerSettings, runs=runs)
    with told() as progress:
        prepared = prepare(model, runs, files_per_language, progress)
        upgrade(settings.labels_url)
        try:
            supervise(
                services(prepared, runs, server_port, worker_port),
                ready=lambda: progress.note(
                    f"\nKeyscope is ready: http://127.0.0.1:{server_port}   (Ctrl-C stops it)\n"
                ),
                note=progress.note,
            )
        except KeyboardInterrupt:
            progress.note("stopped")


@cli.command()
def precompute(
    model: Annotated[str, typer.Option(help=MODEL)],
    corpus: Annotated[list[str], typer.Option(metavar="SRC", help=CORPUS)],
    more: Annotated[list[str] | None, typer.Argument(metavar="SRC", help="Further sources")] = None,
    out: Annotated[Path, typer.Option(help="Directory for the run file")] = Path("runs"),
    languages: Annotated[str, typer.Option(help="Languages to read, with commas")] = "python,java,go",
    files_per_language: Annotated[int | None, _field(RunSettings, "files_per_language", min=1)] = None,
    window: Annotated[int | None, _field(RunSettings, "window", min=1)] = None,
    top_k: Annotated[int | None, _field(RunSettings, "top_k", min=1)] = None,
    context: Annotated[int | None, _field(RunSettings, "context", min=0)] = None,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Keep equal and nearly equal files")
    ] = False,
    preset: Annotated[Preset, typer.Option(help="Procedure the run follows")] = "strict",
    seed: Annotated[int | None, _field(RunSettings, "seed", min=0)] = None,
    revision: Annotated[str | None, _field(WorkerSettings, "revision")] = None,
    dtype: Annotated[str, _field(WorkerSettings, "dtype")] = "auto",
    device: Device = "auto",
    batch: Annotated[int | None, typer.Option(min=1, help="Windows in one forward pass")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with the model")] = 1,
    name: Annotated[str | None, typer.Option(help="Short name of the corpus, for titles")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted precompute stopped")] = False,
    as_json: Json = False,
) -> None:
    """Compute a run: one model over one corpus, published as one file."""
    from keyscope.cli.console import told
    from keyscope.cli.demo import locate_model
    from keyscope.worker.precompute.presets import PROCEDURES
    from keyscope.worker.precompute.run import PrecomputeRequest
    from keyscope.worker.precompute.run import precompute as compute

    settings = _fill(
        RunSettings,
        preset=preset,
        window=window or PROCEDURES[preset].window,
        stride=window or PROCEDURES[preset].window,
        top_k=top_k,
        context=context,
        files_per_language=files_per_language,
        keep_duplicates=keep_duplicates,
        seed=seed,
    )
    with told(as_json) as progress:
        request = PrecomputeRequest(
            source=ModelSource(locate_model(model, progress), revision, dtype, device),
            corpus=(*corpus, *(more or ())),
            out=out,
            settings=settings,
            languages=tuple(part.strip() for part in languages.split(",")),
            corpus_name=name,
            batch=batch,
            workers=workers,
            resume=resume,
        )
        try:
            path = compute(request, progress)
        except KeyboardInterrupt as interrupt:
            _complain("interrupted; --resume goes on from here")
            raise typer.Exit(INTERRUPTED) from interrupt
    if as_json:
        _print_json(run=str(path))


@cli.command()
def verify(
    run: RunFile,
    keys: Annotated[int, typer.Option(min=1, help="Random keys to compute again")] = 50,
    triggers: Annotated[int, typer.Option(min=1, help="Random triggers of each")] = 3,
    model: Annotated[str | None, typer.Option(help="Where the model is; otherwise as the manifest names it")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice")] = 0,
    as_json: Json = False,
) -> None:
    """Compute random keys again by plain transformers and compare; exit code 1 over the tolerance."""
    from keyscope.cli.console import told
    from keyscope.cli.demo import locate_model
    from keyscope.contract.runfile import open_run, read_manifest
    from keyscope.worker.precompute.verify import verify_run

    with open_run(run) as connection:
        manifest = read_manifest(connection)
    with told(as_json) as progress:
        place = locate_model(model or manifest.model.model_id, progress)
        result = verify_run(run, place, keys, triggers, seed, progress)
    if as_json:
        _print_json(run=str(run), **result.model_dump())
    else:
        typer.echo(
            f"{'verified' if result.passed else 'NOT verified'}: {result.keys} keys, {result.triggers} triggers, "
            f"largest error {result.largest_error:.2g}, allowed {result.tolerance:.2g}"
        )
    if not result.passed:
        raise typer.Exit(FAILED)


@cli.command()
def inspect(run: RunFile, as_json: Json = False) -> None:
    """Show what a run is: its manifest and the rows of its tables."""
    from keyscope.cli.summary import print_summary
    from keyscope.contract.runfile import TABLES, open_run, read_manifest

    with open_run(run) as connection:
        manifest = read_manifest(connection)
        cursor = connection.cursor()
        rows = {each.name: cursor.execute(f"SELECT count(*) FROM {each.name}").fetchall()[0][0] for each in TABLES}  # noqa: S608 - our own names
    if as_json:
        _print_json(manifest=manifest.model_dump(mode="json"), rows=rows)
    else:
        print_summary(manifest, rows)


@cli.command()
def analyse(
    run: RunFile,
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the analysis; repeatable")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Where the model is; otherwise as the manifest names it")] = None,
    corpus: Annotated[
        list[str] | None, typer.Option(metavar="SRC", help="Where the corpus is; otherwise as the run was asked for it")
    ] = None,
    device: Device = "auto",
    batch: Annotated[int | None, typer.Option(min=1, help="Windows in one forward pass")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Compute it anew where it is there")] = False,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Analyse a run; the result is a file beside it, which the pages show. Interrupted, it goes on where it stopped."""
    from keyscope.cli.console import told
    from keyscope.cli.demo import locate_model
    from keyscope.contract.runfile import open_run, read_manifest
    from keyscope.worker.analysis.kinds import make_analysis
    from keyscope.worker.analysis.run import analyse as compute
    from keyscope.worker.analysis.subject import open_subject

    given = _assignments(settings or [])
    if kind == "concepts":
        given = _with_definition(given, _fill(ServerSettings, runs=run.parent, database_url=database_url))
    analysis = make_analysis(kind, given)
    with open_run(run) as connection:
        manifest = read_manifest(connection)
    with told(as_json) as progress:
        place = locate_model(model or manifest.model.model_id, progress)
        source = ModelSource(place, manifest.model.revision, manifest.settings.dtype, device)
        try:
            with open_subject(run, source, tuple(corpus or ()), progress, batch) as subject:
                path = compute(subject, analysis, replace)
        except KeyboardInterrupt as interrupt:
            _complain("interrupted; the same command goes on from here")
            raise typer.Exit(INTERRUPTED) from interrupt
    if as_json:
        _print_json(analysis=str(path))


@cli.command()
def report(run: RunFile, as_json: Json = False) -> None:
    """Try the claims of the literature on a run and its analyses; the answer is a Markdown table."""
    from keyscope.app.findings.report import findings, markdown
    from keyscope.contract.runfile import open_run, read_manifest

    with open_run(run) as connection:
        found = findings(connection.cursor(), read_manifest(connection))
    if as_json:
        shown = [
            {
                "number": each.claim.number,
                "title": each.claim.title,
                "measured": each.measured.text,
                "parts": each.measured.parts,
                "verdict": each.measured.verdict,
            }
            for each in found
        ]
        _print_json(run=str(run), findings=shown)
    else:
        typer.echo(markdown(found))


@cli.command()
def serve(
    runs: Annotated[Path | None, _field(ServerSettings, "runs")] = None,
    host: Annotated[str | None, _field(ServerSettings, "host")] = None,
    port: Annotated[int | None, _field(ServerSettings, "port")] = None,
    worker_url: Annotated[list[str] | None, typer.Option(help="Address of a live worker; repeatable")] = None,
    database_url: Annotated[str | None, _field(ServerSettings, "database_url")] = None,
    root_path: Annotated[str | None, _field(ServerSettings, "root_path")] = None,
    stop_with_input: StopWithInput = False,
) -> None:
    """Serve the pages and the JSON API; needs no torch."""
    from keyscope.app.accounts.exposure import check_exposure
    from keyscope.app.main import create_app

    settings = _fill(
        ServerSettings,
        runs=runs,
        host=host,
        port=port,
        worker_urls=worker_url or None,
        database_url=database_url,
        root_path=root_path,
    )
    check_exposure(settings)
    _listen(create_app(settings), settings.host, settings.port)


@cli.command()
def worker(
    model: Annotated[str | None, _field(WorkerSettings, "model")] = None,
    revision: Annotated[str | None, _field(WorkerSettings, "revision")] = None,
    dtype: Annotated[str | None, _field(WorkerSettings, "dtype")] = None,
    device: Annotated[str | None, _field(WorkerSettings, "device")] = None,
    runs: Annotated[Path | None, _field(WorkerSettings, "runs")] = None,
    host: Annotated[str | None, _field(WorkerSettings, "host")] = None,
    port: Annotated[int | None, _field(WorkerSettings, "port")] = None,
    stop_with_input: StopWithInput = False,
) -> None:
    """Serve a model: generations with masks for the live page, and analyses of runs."""
    from keyscope.worker.live.server import create_worker_app

    settings = _fill(
        WorkerSettings,
        model=model,
        revision=revision,
        dtype=dtype,
        device=device,
        runs=runs,
        host=host,
        port=port,
    )
    _listen(create_worker_app(settings), settings.host, settings.port)


@database.command("upgrade")
def upgrade_database(database_url: Annotated[str | None, _field(ServerSettings, "database_url")] = None) -> None:
    """Bring the labels database to this version's schema."""
    from keyscope.app.database.engine import upgrade

    upgrade(_fill(ServerSettings, database_url=database_url).labels_url)
    typer.echo("the labels database is up to date")


@decided.command("export")
def export_labels(
    out: Annotated[
        Path, typer.Argument(metavar="FILE", help="File to write, .csv, .jsonl or .parquet", dir_okay=False)
    ],
    current: Annotated[bool, typer.Option("--current", help="Only what is said now, without the history")] = False,
    person: Annotated[str | None, typer.Option(help="Only what this person said")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind")] = None,
    layer: Annotated[int | None, typer.Option(min=0, help="Only keys of this layer")] = None,
    weights: Annotated[str | None, typer.Option(help="Only keys of the weights with this sha256")] = None,
    runs: Annotated[Path | None, _field(ServerSettings, "runs")] = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Write every label with its history, and every decision on a disputed key."""
    from keyscope.app.labels import records
    from keyscope.app.labels.models import Kind
    from keyscope.app.table_files import Sheet, save

    settings = _fill(ServerSettings, runs=runs, database_url=database_url)
    if kind is not None and kind not in list(Kind):
        raise typer.BadParameter(f"{kind!r} is none of {', '.join(Kind)}", param_hint="--kind")
    chosen = records.Filter(None, person, Kind(kind) if kind else None, layer, weights, current)
    with (
        _labels(settings.labels_url) as labels,
        labels.transaction() as session,
        tempfile.TemporaryDirectory(dir=out.parent, prefix=".keyscope-") as directory,
    ):
        sheet = Sheet(out.stem, records.COLUMNS, records.rows(session, chosen))
        save(sheet, _label_format(out), Path(directory)).replace(out)
    typer.echo(f"the labels are in {out}")


@decided.command("import")
def import_labels(
    file: Annotated[Path, typer.Argument(help="An export, .csv, .jsonl or .parquet", exists=True, dir_okay=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check, and say what would be done")] = False,
    runs: Annotated[Path | None, _field(ServerSettings, "runs")] = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Take an export in: every row or none, and nothing twice."""
    from keyscope.app.labels.importing import ImportRefused, import_file
    from keyscope.app.runs import Registry

    settings = _fill(ServerSettings, runs=runs, database_url=database_url)
    registry = Registry(settings.runs)
    try:
        with _labels(settings.labels_url) as labels:
            done = import_file(labels, registry, file, _label_format(file), dry_run)
    except ImportRefused as error:
        for each in error.problems[3:]:
            typer.echo(f"line {each.line}: {each.problem}", err=True)
        raise
    finally:
        registry.close()
    if as_json:
        _print_json(dry_run=dry_run, added=done.added, changed=done.changed, unchanged=done.unchanged)
    else:
        would = "would be " if dry_run else ""
        typer.echo(f"{done.added:,} rows {would}added, {done.changed:,} labels {would}ended, {done.unchanged:,} known")


def _label_format(path: Path) -> "Format":
    from keyscope.app.errors import InvalidParameter
    from keyscope.app.labels.import_files import format_of

    try:
        return format_of(path.name)
    except InvalidParameter as error:
        raise typer.BadParameter(error.detail, param_hint="FILE") from error


def _assignments(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise typer.BadParameter(f"{name!r} is no NAME=VALUE", param_hint="--set")
    return {name: value for name, _, value in pairs}


def _with_definition(given: dict[str, str], server: ServerSettings) -> dict[str, str]:
    """The settings of an analysis with the definition of a saved concept, which is asked for by its name."""
    name = given.get("concept")
    if not name or "definition" in given:
        return given
    from keyscope.app.concepts.repository import get_concept
    from keyscope.app.database.engine import Database

    database = Database(server.labels_url)
    try:
        known = database.read(lambda session: get_concept(session, name))
    finally:
        database.close()
    return given if known.shipped else {**given, "definition": known.concept.model_dump_json()}


@users.command("add")
def add_user(
    name: PersonName,
    role: Annotated[Role, typer.Option(help="What the person may do")] = Role.LABELER,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from the input")] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Make an account with a password of your choice."""
    from keyscope.app.accounts import people
    from keyscope.app.accounts.passwords import hash_password

    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    hashed = hash_password(password)
    with _labels(database_url) as labels:
        account = labels.write(lambda session: people.add(session, name, role, hashed))
    typer.echo(f"{account.name} may sign in as {account.role}")


@users.command("invite")
def invite_user(
    name: PersonName,
    role: Annotated[Role, typer.Option(help="What a person without an account may do")] = Role.LABELER,
    url: Annotated[str | None, typer.Option(help="Address people open Keyscope by; otherwise the server's own")] = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Print a link by which the person, with an account or yet without, chooses a password, once."""
    from keyscope.app.accounts import invitations, people

    settings = _fill(ServerSettings, database_url=database_url)
    base = url or f"http://{settings.host}:{settings.port}{settings.root_path}"

    def invite(session: "Session") -> tuple[str, str]:
        account = people.find(session, name) or people.add(session, name, role)
        return account.name, invitations.invite(session, account)

    with _labels(database_url) as labels:
        invited, code = labels.write(invite)
    typer.echo(invitations.link(f"{base.rstrip('/')}/invitation", invited, code))


@users.command("list")
def list_users(database_url: DatabaseUrl = None, as_json: Json = False) -> None:
    """Show who has an account."""
    from keyscope.app.accounts import people

    with _labels(database_url) as labels:
        accounts = labels.read(people.everyone)
    if as_json:
        _print_json(
            people=[{"name": each.name, "role": each.role, "disabled": bool(each.disabled_at)} for each in accounts]
        )
        return
    if not accounts:
        typer.echo("nobody has an account yet: `keyscope users add NAME` makes one", err=True)
    for each in accounts:
        typer.echo(f"{each.role:8}  {each.name}{'  (disabled)' if each.disabled_at else ''}")


@users.command("role")
def change_role(name: PersonName, role: Role, database_url: DatabaseUrl = None) -> None:
    """Give a person another role."""
    from keyscope.app.accounts import people

    with _labels(database_url) as labels:
        labels.write(lambda session: people.set_role(session, people.get(session, name), role))


@users.command("disable")
def disable_user(name: PersonName, database_url: DatabaseUrl = None) -> None:
    """Forbid a person to sign in; sessions and tokens end, labels stay."""
    from keyscope.app.accounts import people

    with _labels(database_url) as labels:
        labels.write(lambda session: people.disable(session, people.get(session, name)))


@users.command("enable")
def enable_user(name: PersonName, database_url: DatabaseUrl = None) -> None:
    """Allow a person to sign in again."""
    from keyscope.app.accounts import people

    with _labels(database_url) as labels:
        labels.write(lambda session: people.enable(people.get(session, name)))


@contextmanager
def _labels(database_url: str | None) -> "Iterator[Database]":
    from keyscope.app.database.engine import Database

    opened = Database(_fill(ServerSettings, database_url=database_url).labels_url)
    try:
        opened.create_missing()
        yield opened
    finally:
        opened.close()


def _listen(app: "FastAPI", host: str, port: int) -> None:
    import uvicorn

    startup = _Startup(app)
    try:
        uvicorn.run(startup, host=host, port=port, proxy_headers=False, timeout_graceful_shutdown=SHUTDOWN_SECONDS)
    finally:
        if startup.error is not None:
            raise startup.error


class _Startup:
    """An application whose startup ends, where it fails of an error meant for people, with that error and no traceback."""

    def __init__(self, app: "FastAPI") -> None:
        self.app = app
        self.error: KeyscopeError | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_briefly(message: Any) -> None:
            expected = isinstance(sys.exception(), KeyscopeError)  # sent while the error is handled
            await send(message | {"message": ""} if expected else message)

        try:
            await self.app(scope, receive, send_briefly if scope["type"] == "lifespan" else send)
        except KeyscopeError as error:
            if scope["type"] != "lifespan":
                raise
            self.error = error


def _print_json(**fields: object) -> None:
    typer.echo(json.dumps({"ok": True} | fields, default=str))
