"""When keys fire, as a kind of analysis: `/runs/{run}/firing`."""

from keyscope.app.analyses.firing import api
from keyscope.app.analyses.firing.claims import CLAIMS
from keyscope.app.analyses.firing.key_part import firing_of_key
from keyscope.app.analyses.firing.sections import sections
from keyscope.app.analyses.kind import AnalysisKind, KeyPart
from keyscope.app.analyses.page import analysis_router

FIRING = AnalysisKind(
    name="firing",
    title="firing",
    home="firing_page",
    pages=(analysis_router("firing", "When keys fire", "analyses/firing.html", CLAIMS, sections),),
    endpoints=api.router,
    about="Which keys are dead, detect one token, know their position or keep to one language, each compared with chance.",
    passes=1.7,
    claims=CLAIMS,
    key_part=KeyPart("analyses/_key_firing.html", firing_of_key),
)
