"""Concepts, as a kind of analysis: the keys that detect them, at `/runs/{run}/concepts`."""

from keyscope.app.analyses.concepts import api, list_page, page
from keyscope.app.analyses.concepts.claims import CLAIMS
from keyscope.app.analyses.kind import AnalysisKind, KeyPart
from keyscope.app.queries.concepts import concepts_of_key

CONCEPTS = AnalysisKind(
    name="concepts",
    title="concepts",
    home="concepts_page",
    pages=(list_page.router, page.router),
    endpoints=api.router,
    about="Which keys detect named patterns, such as numpy, loops or error handling, and how many chance would give.",
    passes=1.3,
    claims=CLAIMS,
    key_part=KeyPart("analyses/_key_concepts.html", lambda run, cursor, key: concepts_of_key(cursor, run.blocks, key)),
)
