"""Edits, as a kind of analysis: what masking a concept's keys does, at `/runs/{run}/edits`."""

from keyscope.app.analyses.edits import api, page
from keyscope.app.analyses.edits.claims import CLAIMS
from keyscope.app.analyses.kind import AnalysisKind

EDITS = AnalysisKind(
    name="edit",
    title="edits",
    home="edits_page",
    pages=(page.router, page.drawn),
    endpoints=api.router,
    about="What masking a concept's keys does to the concept and to everything else, beside masks of other keys.",
    claims=CLAIMS,
)
