"""`keyscope precompute`, `verify`, `inspect`, `analyse`, `twin` and `report`: computing runs and reading them."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from keyscope.app.settings import Settings as ServerSettings
from keyscope.cli.options import (
    FAILED,
    MODEL,
    Batch,
    CorpusPlace,
    DatabaseUrl,
    Device,
    Json,
    MixedDevices,
    ModelPlace,
    RunFile,
    Scratch,
    fill,
    interrupted,
    print_json,
    setting,
)
from keyscope.contract.analyses.kinds import KINDS
from keyscope.contract.manifest import BosPolicy, Preset, RunSettings, Task
from keyscope.worker.live.settings import WorkerSettings
from keyscope.worker.model.source import ModelSource

Executor = Literal["local", "ray"]
Work = Annotated[
    str | None,
    typer.Option(
        help="Folder or URL (s3://, gs://, hf://) for what is unfinished, which all machines reach",
        show_default=".work in the output directory",
    ),
]
CORPUS = (
    "Directory, archive (.zip .whl .jar .tar.gz .tar.xz), .jsonl or .parquet, hf:NAME[:CONFIG], or demo; repeatable"
)


def precompute(
    model: Annotated[str, typer.Option(help=MODEL)],
    corpus: Annotated[list[str], typer.Option(metavar="SRC", help=CORPUS)],
    more: Annotated[list[str] | None, typer.Argument(metavar="SRC", help="Further sources")] = None,
    out: Annotated[Path, typer.Option(help="Directory for the run file")] = Path("runs"),
    languages: Annotated[str, typer.Option(help="Languages to read, separated by commas")] = "python,java,go",
    files_per_language: Annotated[int | None, setting(RunSettings, "files_per_language", min=1)] = None,
    window: Annotated[int | None, setting(RunSettings, "window", min=1)] = None,
    top_k: Annotated[int | None, setting(RunSettings, "top_k", min=1)] = None,
    context: Annotated[int | None, setting(RunSettings, "context", min=0)] = None,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Keep duplicate and near-duplicate files")
    ] = False,
    keep_boilerplate: Annotated[
        bool, typer.Option("--keep-boilerplate", help="Count lines that stand in many files, such as licences")
    ] = False,
    ungrouped: Annotated[
        bool, typer.Option("--ungrouped", help="List triggers one by one that equal tokens lead up to")
    ] = False,
    burn_in: Annotated[
        int | None, setting(RunSettings, "burn_in", min=0, shown="16, or a quarter of a short window")
    ] = None,
    bos: Annotated[BosPolicy | None, setting(RunSettings, "bos")] = None,
    task: Annotated[Task | None, setting(RunSettings, "task", shown="encode, of encoder–decoders")] = None,
    tokens_per_file: Annotated[int | None, setting(RunSettings, "tokens_per_file", min=1)] = None,
    preset: Annotated[
        Preset, typer.Option(help="Procedure the run follows; those of papers count and list everything")
    ] = "strict",
    seed: Annotated[int | None, setting(RunSettings, "seed", min=0)] = None,
    revision: Annotated[str | None, setting(WorkerSettings, "revision")] = None,
    dtype: Annotated[str, setting(WorkerSettings, "dtype")] = "auto",
    device: Device = "auto",
    batch: Batch = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of processes, each with its own copy of the model",
            show_default="1; on a cluster one a GPU, or one a node",
        ),
    ] = None,
    executor: Annotated[Executor, typer.Option(help="Compute on this machine or on a Ray cluster")] = "local",
    address: Annotated[
        str, typer.Option(help="The cluster's head, HOST:PORT; auto finds the one this machine is in")
    ] = "auto",
    work: Work = None,
    scratch: Scratch = None,
    mixed_devices: MixedDevices = False,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Gather and plan, and leave computing to keyscope shards")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Short name of the corpus, for titles")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted precompute")] = False,
    as_json: Json = False,
) -> None:
    """Compute a run: one model over one corpus, published as one file."""
    from keyscope.cli.console import show_progress
    from keyscope.worker.model.known import locate_model

    with show_progress(as_json) as progress:
        source = ModelSource(locate_model(model, progress), revision, dtype, device)

    # these import torch, which takes seconds: a model that is not there has been told by now
    from keyscope.worker.precompute.presets import PROCEDURES, default_burn_in
    from keyscope.worker.precompute.run import PrecomputeRequest, plan
    from keyscope.worker.precompute.run import precompute as compute

    procedure = PROCEDURES[preset]
    size = window or procedure.window
    skipped = default_burn_in(procedure, size) if burn_in is None else burn_in
    settings = fill(
        RunSettings,
        preset=preset,
        window=size,
        burn_in=skipped,
        bos=bos,
        task=task,
        top_k=top_k,
        context=context,
        files_per_language=files_per_language,
        tokens_per_file=tokens_per_file,
        keep_duplicates=keep_duplicates,
        keep_boilerplate=keep_boilerplate or procedure.plain,
        ungrouped=ungrouped or procedure.plain,
        seed=seed,
    )
    with show_progress(as_json) as progress:
        request = PrecomputeRequest(
            source=source,
            corpus=(*corpus, *(more or ())),
            out=out,
            settings=settings,
            languages=tuple(part.strip() for part in languages.split(",")),
            corpus_name=name,
            batch=batch,
            workers=workers,
            resume=resume,
            executor=executor,
            address=address,
            work=work,
            scratch=scratch,
            mixed_devices=mixed_devices,
        )
        try:
            made = plan(request, progress) if plan_only else str(compute(request, progress))
        except KeyboardInterrupt as interrupt:
            raise interrupted("continue with --resume") from interrupt
    if as_json:
        print_json(**{"plan" if plan_only else "run": made})
    elif plan_only:
        typer.echo(made)


def verify(
    run: RunFile,
    keys: Annotated[int, typer.Option(min=1, help="Number of random keys to recompute")] = 50,
    triggers: Annotated[int, typer.Option(min=1, help="Number of random triggers of each key")] = 3,
    model: ModelPlace = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed for choosing them")] = 0,
    as_json: Json = False,
) -> None:
    """Recompute random keys with plain transformers and compare; exit code 1 above the tolerance."""
    from keyscope.cli.console import show_progress
    from keyscope.contract.runfile import open_run, read_manifest
    from keyscope.worker.model.local import place_of_model
    from keyscope.worker.precompute.verify import verify_run

    with open_run(run) as connection:
        manifest = read_manifest(connection)
    with show_progress(as_json) as progress:
        place = place_of_model(model, run, manifest.model, progress)
        result = verify_run(run, place, keys, triggers, seed, progress)
    if as_json:
        print_json(run=str(run), **result.model_dump())
    else:
        typer.echo(
            f"{'verified' if result.passed else 'NOT verified'}: {result.keys} keys, {result.triggers} triggers, "
            f"largest error {result.largest_error:.2g}, allowed {result.tolerance:.2g}"
        )
    if not result.passed:
        raise typer.Exit(FAILED)


def inspect(run: RunFile, as_json: Json = False) -> None:
    """Show a run's manifest and the row counts of its tables."""
    from keyscope.cli.summary import print_summary
    from keyscope.contract.runfile import TABLES, open_run, read_manifest

    with open_run(run) as connection:
        manifest = read_manifest(connection)
        cursor = connection.cursor()
        rows = {each.name: cursor.execute(f"SELECT count(*) FROM {each.name}").fetchall()[0][0] for each in TABLES}  # noqa: S608 - our own names
    if as_json:
        print_json(manifest=manifest.model_dump(mode="json"), rows=rows)
    else:
        print_summary(manifest, rows)


def analyse(
    run: RunFile,
    kind: Annotated[
        str,
        typer.Argument(help=f"One of {', '.join(KINDS)}; several with commas between them, or all, are read together"),
    ],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the analysis; repeatable")
    ] = None,
    model: ModelPlace = None,
    corpus: CorpusPlace = None,
    device: Device = "auto",
    batch: Batch = None,
    replace: Annotated[bool, typer.Option("--replace", help="Recompute an analysis that exists")] = False,
    no_twin: Annotated[bool, typer.Option("--no-twin", help="Leave out the run's twin")] = False,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Analyse a run, and its twin if it has one, into files beside it. The same command continues what was interrupted."""
    from keyscope.cli.console import show_progress
    from keyscope.worker.analysis.kinds import make_analyses
    from keyscope.worker.analysis.run import analyse_together
    from keyscope.worker.analysis.subject import open_subject, source_of_run
    from keyscope.worker.analysis.twin import analyse_twin
    from keyscope.worker.model.load import load_model

    given = _assignments(settings or [])
    if kind == "concepts":
        given = _with_definition(given, fill(ServerSettings, runs=run.parent, database_url=database_url))
    analyses = make_analyses(kind, given)
    with show_progress(as_json) as progress:
        loaded = load_model(source_of_run(model, run, device, progress))
        try:
            # the twin first: the run's own figures are held against it
            twins = [] if no_twin else analyse_twin(run, loaded, analyses, progress, batch, replace, in_place=True)
            with open_subject(run, loaded, tuple(corpus or ()), progress, batch) as subject:
                paths = analyse_together(subject, make_analyses(kind, given), replace)
        except KeyboardInterrupt as interrupt:
            raise interrupted("continue with the same command") from interrupt
    if as_json:
        files, of_twin = ([str(path) for path in found] for found in (paths, twins))
        print_json(analysis=files[0], analyses=files, twin=of_twin[0] if of_twin else None, twins=of_twin)


def twin(
    run: RunFile,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the shuffling")] = 0,
    model: ModelPlace = None,
    corpus: CorpusPlace = None,
    device: Device = "auto",
    batch: Batch = None,
    as_json: Json = False,
) -> None:
    """Compute what chance gives: the run of the same model with shuffled blocks, kept beside this one."""
    from keyscope.cli.console import show_progress
    from keyscope.worker.analysis.subject import source_of_run
    from keyscope.worker.analysis.twin import precompute_twin
    from keyscope.worker.model.load import load_model

    with show_progress(as_json) as progress:
        loaded = load_model(source_of_run(model, run, device, progress))
        try:
            path = precompute_twin(run, loaded, tuple(corpus or ()), progress, batch, seed, in_place=True)
        except KeyboardInterrupt as interrupt:
            raise interrupted("continue with the same command") from interrupt
    if as_json:
        print_json(twin=str(path))


def report(
    run: RunFile,
    paper: Annotated[
        bool,
        typer.Option("--paper", help="Print the paper's published counts by layer beside those of a paper2023 run"),
    ] = False,
    as_json: Json = False,
) -> None:
    """Test the literature's claims on a run and its analyses; prints a Markdown table."""
    from keyscope.app.analyses.claim import beyond_chance
    from keyscope.app.findings import paper as published
    from keyscope.app.findings.report import findings, markdown
    from keyscope.contract.runfile import open_run, read_manifest

    if paper:
        with open_run(run) as connection:
            manifest = read_manifest(connection)
            compared = published.compare(connection.cursor(), manifest)
        if as_json:
            print_json(run=str(run), source=published.PUBLISHED["source"], **asdict(compared))
        else:
            typer.echo(published.markdown(compared, manifest))
        return
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
                "twin": each.twin and each.twin.verdict,
            }
            for each in found
        ]
        print_json(run=str(run), findings=shown, beyond_chance=beyond_chance(found))
    else:
        typer.echo(markdown(found))


def _assignments(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise typer.BadParameter(f"{name!r} is not NAME=VALUE", param_hint="--set")
    return {name: value for name, _, value in pairs}


def _with_definition(given: dict[str, str], server: ServerSettings) -> dict[str, str]:
    """The settings, with the definition of a saved concept that they name."""
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
