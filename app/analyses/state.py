"""The state of an analysis of a run: how it was computed, or how to compute it."""

from dataclasses import dataclass

from keyscope.app.runs import Run
from keyscope.contract.analyses.manifest import AnalysisManifest
from keyscope.contract.tables import SUFFIX


@dataclass(frozen=True, slots=True)
class AnalysisState:
    """A kind of analysis of a run, computed or not."""

    kind: str
    manifest: AnalysisManifest | None
    """None until it is computed."""
    command: str
    """The command that computes it."""
    problems: list[str]
    """Why files of this kind cannot be used."""


def analysis_state(run: Run, kind: str, part: str | None = None) -> AnalysisState:
    """The state of a kind of analysis of a run."""
    return AnalysisState(
        kind=kind,
        manifest=run.analyses.get((kind, part)),
        command=f"keyscope analyse {run.path.parent.name}/{run.run_id}{SUFFIX} {kind}",
        problems=[problem for found, problem in run.analysis_problems if found == kind],
    )
