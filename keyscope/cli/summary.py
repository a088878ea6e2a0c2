"""A run's manifest and counts as a table for people."""

from collections import Counter
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from keyscope.contract.manifest import LanguageCounts, Manifest
from keyscope.contract.texts import counted, duration


def print_summary(manifest: Manifest, rows: Mapping[str, int]) -> None:
    """Print a run's manifest, and how many rows each table has, on stdout."""
    table = Table.grid("", "", padding=(0, 2, 0, 0))
    for name, text in _summary(manifest, rows):
        table.add_row(Text(name, style="bold"), Text(text))
    Console(highlight=False).print(table)


def _summary(manifest: Manifest, rows: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    model, corpus, settings, made = manifest.model, manifest.corpus, manifest.settings, manifest.provenance
    keys = ", ".join(f"{layers} × {keys:,}" for keys, layers in Counter(model.keys_per_layer).items())
    yield "run", f"{manifest.run_id} (schema {manifest.schema_version})"
    yield "model", f"{model.model_id} {model.revision or ''}({model.architecture}), weights {model.weights_sha256[:12]}"
    yield "keys", f"{manifest.n_keys:,} (layers × keys: {keys}), {model.activation}{', gated' if model.gated else ''}"
    yield "corpus", f"{corpus.name} from {', '.join(corpus.sources)}, sha256 {corpus.sha256[:12]}"
    for counts in corpus.languages:
        yield (
            "",
            f"{counts.language}: {counts.files:,} files, {counts.windows:,} windows, {counts.tokens:,} tokens{_more(counts)}",
        )
        if counts.largest_projects:
            yield (
                "",
                f"  {', '.join(f'{name} {n / max(counts.tokens, 1):.0%}' for name, n in counts.largest_projects.items())}",
            )
    if corpus.skipped:
        yield "left out", counted(corpus.skipped)
    yield "settings", ", ".join(f"{name} {value}" for name, value in settings if value is not None)
    yield "computed", f"{made.finished:%Y-%m-%d %H:%M} UTC on {made.device}, Keyscope {made.code_version}"
    yield "took", duration((made.finished - made.started).total_seconds())
    if (checked := manifest.verification) is not None:
        yield (
            "verified",
            f"{checked.keys} keys, largest error {checked.largest_error:.2g} of {checked.tolerance:.2g} allowed",
        )
    yield "rows", ", ".join(f"{name} {n:,}" for name, n in rows.items())


def _more(counts: LanguageCounts) -> str:
    boilerplate = "" if counts.boilerplate_share is None else f", {counts.boilerplate_share:.1%} boilerplate"
    return boilerplate + ("" if counts.projects is None else f", projects: {counts.projects:,}")
