"""The state of the analysis that has a concept: how it was computed, or how to compute it."""

from dataclasses import replace

from keyscope.app.analyses.state import AnalysisState, analysis_state
from keyscope.app.runs import Run
from keyscope.contract.concepts import SHIPPED, Concept

_SHOWN_ELSEWHERE = ("names", "concept", "definition", "definitions")
"""Settings that name the concepts, which the pages show anyway."""


def state_of(run: Run, concept: Concept | None = None) -> AnalysisState:
    """The state of a concept as it is currently defined; shipped concepts share one analysis, which None also stands for."""
    if concept is None or concept in SHIPPED:
        return _plain(analysis_state(run, "concepts"))
    state = _plain(analysis_state(run, "concepts", concept.part))
    return replace(state, command=f"{state.command} --set concept={concept.name}")


def _plain(state: AnalysisState) -> AnalysisState:
    if state.manifest is None:
        return state
    settings = {name: value for name, value in state.manifest.settings.items() if name not in _SHOWN_ELSEWHERE}
    return replace(state, manifest=state.manifest.model_copy(update={"settings": settings}))
