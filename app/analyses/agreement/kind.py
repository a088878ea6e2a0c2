"""Prediction by layer, as a kind of analysis: `/runs/{run}/agreement`, how far each layer's prediction is the model's."""

from keyscope.app.analyses.agreement import api
from keyscope.app.analyses.agreement.claims import CLAIMS
from keyscope.app.analyses.agreement.sections import sections
from keyscope.app.analyses.kind import AnalysisKind
from keyscope.app.analyses.page import analysis_router

AGREEMENT = AnalysisKind(
    name="agreement",
    title="prediction by layer",
    home="agreement_page",
    pages=(analysis_router("agreement", "Prediction by layer", "analyses/layer_agreement.html", CLAIMS, sections),),
    endpoints=api.router,
    about="After which layer the model's next token is already the one it predicts in the end, and which keys' values promote it.",
    passes=4.0,
    claims=CLAIMS,
)
