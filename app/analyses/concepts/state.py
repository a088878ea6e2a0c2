"""What pages say about the analysis that has a concept: how it was computed, or how to compute it."""

from dataclasses import replace

from keyscope.app.analyses.state import AnalysisState, analysis_state
from keyscope.app.runs import Run
from keyscope.contract.concepts import SHIPPED, Concept

_SAID_OTHERWISE = ("names", "concept", "definition", "definitions")
"""Settings that say which concepts, which the pages show."""


def state_of(run: Run, concept: Concept | None = None) -> AnalysisState:
    """The file that has a concept as it is defined now, or all that are shipped: one for these, one for each other."""
    if concept is None or concept in SHIPPED:
        return _plain(analysis_state(run, "concepts"))
    state = _plain(analysis_state(run, "concepts", concept.part))
    return replace(state, command=f"{state.command} --set concept={concept.name}")


def _plain(state: AnalysisState) -> AnalysisState:
    if state.manifest is None:
        return state
    settings = {name: value for name, value in state.manifest.settings.items() if name not in _SAID_OTHERWISE}
    return replace(state, manifest=state.manifest.model_copy(update={"settings": settings}))
