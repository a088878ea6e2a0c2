"""Syntax, as a kind of analysis: `/runs/{run}/syntax`, what kinds of code the keys of each layer fire on."""

from keyscope.app.analyses.kind import AnalysisKind, KeyPart
from keyscope.app.analyses.page import analysis_router
from keyscope.app.analyses.syntax import api
from keyscope.app.analyses.syntax.claims import CLAIMS
from keyscope.app.analyses.syntax.key_part import syntax_of_key
from keyscope.app.analyses.syntax.sections import sections

SYNTAX = AnalysisKind(
    name="syntax",
    title="syntax",
    home="syntax_page",
    pages=(analysis_router("syntax", "Syntax", "analyses/syntax.html", CLAIMS, sections),),
    endpoints=api.router,
    about="What each key's triggers have in common in the syntax tree, how varied they are by layer, and whether one token or the context decides.",
    passes=5.3,
    claims=CLAIMS,
    key_part=KeyPart("analyses/_key_syntax.html", syntax_of_key),
)
