"""Syntax trees over the triggers: what kinds of code a key fires on, and how far from shallow to semantic it is."""

from keyscope.contract.tables import KEY, Column, Table

ASPECTS = {
    "role": "What the token is: keyword, operator, name that is defined, used or called, part of a string, …",
    "node": "Innermost named node of the syntax tree around the token, and the node that one stands in",
    "statement": "Innermost statement around the token",
    "expression": "Innermost expression of more than one part around the token",
    "declaration": "Innermost declaration around the token",
    "scope": "What encloses the token: module, class, function, method, constructor or lambda",
}
"""What is asked of the place of every token."""
NOWHERE = "none"
"""The value of an aspect where there is no such node around the token."""
ROLES = (
    "keyword",
    "operator",
    "punctuation",
    "identifier_defined",
    "identifier_used",
    "identifier_imported",
    "call_target",
    "attribute",
    "type",
    "string",
    "number",
    "comment",
    "indentation",
    "whitespace",
    "other",
)
"""Values of the aspect role."""
FAMILIES = {
    "grammar": ("keyword", "operator", "punctuation"),
    "names": (
        "identifier_defined",
        "identifier_used",
        "identifier_imported",
        "call_target",
        "attribute",
        "type",
    ),
    "text": ("string", "number", "comment"),
    "layout": ("indentation", "whitespace"),
}
"""Roles that belong together: what the language defines, what people and libraries name, what is no code, white space."""

KEY_MEASURES = (
    Column(
        "score", "FLOAT", "From 0, shallow (one token decides), to 1, semantic: mean of spread, entropy and locality"
    ),
    Column("triggers", "USMALLINT", "Strongest triggers over all languages, as many as a run keeps for one"),
    Column("files", "USMALLINT", "Different files they are from"),
    Column("token_id", "INTEGER", "Commonest trigger token"),
    Column("token_share", "FLOAT", "Share of the triggers on the commonest trigger token"),
    Column(
        "bigram_share", "FLOAT", "Share of the triggers on the commonest two tokens, the last one the trigger token"
    ),
    Column("trigram_share", "FLOAT", "The same of three tokens"),
    Column("tokens_to_cover", "USMALLINT", "Fewest different trigger tokens that make 95 % of the triggers"),
    Column("bigrams_to_cover", "USMALLINT", "The same of two tokens"),
    Column("trigrams_to_cover", "USMALLINT", "The same of three tokens"),
    Column("token_entropy", "FLOAT", "Entropy of the trigger tokens, in nats"),
    Column("mutated", "USMALLINT", "Triggers that were read again with a token dropped"),
    Column(
        "drop_last",
        "FLOAT",
        "Mean relative change of the coefficient when the trigger token is dropped and the token before it becomes the last",
    ),
    Column("drop_first", "FLOAT", "The same when the first token of the window is dropped"),
    Column("drop_random", "FLOAT", "The same when a random token between the two is dropped"),
)
"""What is measured of every key, from its triggers."""
LAYER_MEASURES = {
    "score": "Mean score of the layer's keys, from shallow (0) to semantic (1)",
    "token_share": "Mean share of a key's triggers on its commonest trigger token",
    "bigram_share": "Mean share on its commonest two tokens",
    "trigram_share": "Mean share on its commonest three tokens",
    "entropy": "Mean entropy of a key's trigger tokens, over the largest it could be",
    "drop_last": "Mean relative change of the coefficient when the trigger token is dropped",
    "drop_first": "Mean relative change when the first token of the window is dropped",
    "drop_random": "Mean relative change when a random token between is dropped",
    "grammar": "Share of keys with half their triggers or more on keywords, operators and punctuation",
    "names": "Share of keys with half their triggers or more on names, calls, attributes and types",
    "text": "Share of keys with half their triggers or more on strings, numbers and comments",
    "layout": "Share of keys with half their triggers or more on white space",
}
"""What is measured of every layer."""
_INTERVAL = (
    Column("low", "DOUBLE", "Lower end of its 95 % interval, by bootstrap over files"),
    Column("high", "DOUBLE", "Upper end"),
    Column("control", "DOUBLE", "The same by chance: random places for tokens, the roles of other tokens for roles"),
    Column("control_low", "DOUBLE", "Lower end of what 95 % of the draws of the control gave"),
    Column("control_high", "DOUBLE", "Upper end"),
)
SYNTAX_KEYS = Table("syntax_keys", KEY + KEY_MEASURES, ("layer", "index"))
SYNTAX_PROFILES = Table(
    "syntax_profiles",
    (
        *KEY,
        Column("aspect", "VARCHAR", "role, node, statement, expression, declaration or scope"),
        Column("rank", "USMALLINT", "From 1, the commonest value"),
        Column("value", "VARCHAR"),
        Column("triggers", "USMALLINT", "Triggers with this value"),
        Column("share", "FLOAT", "Share of the key's triggers"),
        Column("base", "FLOAT", "Share of all tokens of the corpus, languages weighted as among the triggers"),
        Column("lift", "FLOAT", "Share over base: 1 is chance"),
        Column("sample_share", "FLOAT", "Share of the key's samples below its triggers in which it fires"),
        Column("q", "DOUBLE", "Of the commonest value: chance of as many by random places, corrected for all keys"),
        Column(
            "distinct_q",
            "DOUBLE",
            "The same with equal trigger tokens, equal tokens before them and equal positions each counted once "
            "against others about as common, whichever says least: is it more than a few tokens that happen to be so?",
        ),
    ),
    ("layer", "index", "aspect", "rank"),
)
SYNTAX_LAYERS = Table(
    "syntax_layers",
    (
        Column("measure", "VARCHAR"),
        Column("layer", "USMALLINT"),
        Column("keys", "UINTEGER", "Keys it was measured of"),
        Column("mean", "DOUBLE"),
        *_INTERVAL,
        Column("lower_quartile", "DOUBLE", "A quarter of the keys are below; empty for shares of keys"),
        Column("median", "DOUBLE"),
        Column("upper_quartile", "DOUBLE", "A quarter of the keys are above"),
    ),
    ("measure", "layer"),
)
SYNTAX_TRENDS = Table(
    "syntax_trends",
    (
        Column("measure", "VARCHAR"),
        Column("keys", "UINTEGER", "Keys it was measured of"),
        Column("difference", "DOUBLE", "Mean of the upper half of the layers less that of the lower half"),
        *_INTERVAL,
    ),
    ("measure",),
)
SYNTAX_LAYER_VALUES = Table(
    "syntax_layer_values",
    (
        Column("aspect", "VARCHAR"),
        Column("value", "VARCHAR"),
        Column("layer", "USMALLINT"),
        Column("triggers", "UBIGINT", "Triggers with this value, over the layer's keys"),
        Column("share", "DOUBLE", "Share of the triggers of the layer's keys"),
        *_INTERVAL,
        Column("base", "DOUBLE", "Share of all tokens of the corpus, languages weighted as among the triggers"),
        Column("lift", "DOUBLE", "Share over base: 1 is chance"),
        Column("keys", "UINTEGER", "Keys whose commonest value it is"),
        Column("significant", "UINTEGER", "Those with distinct_q up to 0.05"),
    ),
    ("aspect", "value", "layer"),
)
SYNTAX_BASE = Table(
    "syntax_base",
    (
        Column("aspect", "VARCHAR"),
        Column("value", "VARCHAR"),
        Column("language", "VARCHAR"),
        Column("tokens", "UBIGINT"),
        Column("share", "DOUBLE", "Share of the language's tokens"),
        Column("low", "DOUBLE", "Lower end of its 95 % interval, by bootstrap over files"),
        Column("high", "DOUBLE", "Upper end"),
    ),
    ("aspect", "value", "language"),
)
TABLES: tuple[Table, ...] = (
    SYNTAX_KEYS,
    SYNTAX_PROFILES,
    SYNTAX_LAYERS,
    SYNTAX_TRENDS,
    SYNTAX_LAYER_VALUES,
    SYNTAX_BASE,
)
