"""Syntax of the triggers: what kinds of code a key fires on, and how varied its triggers are."""

from keyscope.contract.analyses.intervals import PROJECTS, ends
from keyscope.contract.tables import KEY, Column, Table

ASPECTS = {
    "role": "What the token is: a keyword, an operator, a name being defined, used or called, part of a string, …",
    "node": "Innermost named syntax node around the token, and its parent",
    "statement": "Innermost statement around the token",
    "expression": "Innermost expression around the token that has more than one part",
    "declaration": "Innermost declaration around the token",
    "scope": "What encloses the token: a module, class, function, method, constructor or lambda",
}
"""What is recorded about every token's place in its code."""
NOWHERE = "none"
"""The value of an aspect if no such node is around the token."""
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
"""Roles by family: parts of the language, names given by people, text that is not code, white space."""

KEY_MEASURES = (
    Column(
        "score", "FLOAT", "Variety of triggers, from 0 (one token decides) to 1: mean of spread, entropy and locality"
    ),
    Column(
        "triggers",
        "USMALLINT",
        "Number of strongest triggers used, over all languages: as many as the run keeps for one language",
    ),
    Column("files", "USMALLINT", "Number of different files they are from"),
    Column("token_id", "INTEGER", "Most common trigger token"),
    Column("token_share", "FLOAT", "Share of the triggers on the most common trigger token"),
    Column(
        "bigram_share",
        "FLOAT",
        "Share of the triggers on the most common pair of tokens that ends in the trigger token",
    ),
    Column("trigram_share", "FLOAT", "The same for three tokens"),
    Column("tokens_to_cover", "USMALLINT", "Fewest different trigger tokens that make up 95 % of the triggers"),
    Column("bigrams_to_cover", "USMALLINT", "The same for two tokens"),
    Column("trigrams_to_cover", "USMALLINT", "The same for three tokens"),
    Column("token_entropy", "FLOAT", "Entropy of the trigger tokens, in nats"),
    Column("mutated", "USMALLINT", "Triggers recomputed with a token dropped"),
    Column(
        "drop_last",
        "FLOAT",
        "Mean relative change of the coefficient when the trigger token is dropped and the token before it becomes the last",
    ),
    Column("drop_first", "FLOAT", "The same when the first token of the window is dropped"),
    Column("drop_random", "FLOAT", "The same when a random token between the two is dropped"),
)
"""Measured for every key from its triggers."""
LAYER_MEASURES = {
    "score": "Mean variety of the triggers of the layer's keys, from 0 (one token decides) to 1",
    "token_share": "Mean share of a key's triggers on its most common trigger token",
    "bigram_share": "Mean share on its most common pair of tokens",
    "trigram_share": "Mean share on its most common sequence of three tokens",
    "entropy": "Mean entropy of a key's trigger tokens, divided by its largest possible value",
    "drop_last": "Mean relative change of the coefficient when the trigger token is dropped",
    "drop_first": "Mean relative change when the first token of the window is dropped",
    "drop_random": "Mean relative change when a random token between the two is dropped",
    "grammar": "Share of keys with at least half their triggers on keywords, operators and punctuation",
    "names": "Share of keys with at least half their triggers on names, calls, attributes and types",
    "text": "Share of keys with at least half their triggers on strings, numbers and comments",
    "layout": "Share of keys with at least half their triggers on white space",
}
"""Measured for every layer."""
_INTERVAL = (
    *ends(),
    Column(
        "control",
        "DOUBLE",
        "The same by chance: at random places for measures of tokens, with the roles of other tokens for roles",
    ),
    Column("control_low", "DOUBLE", "Lower end of the range that holds 95 % of the control's draws"),
    Column("control_high", "DOUBLE", "Upper end of that range"),
)
_RESTS_ON = (Column("files", "UINTEGER", "Files that the interval rests on"), PROJECTS)
SYNTAX_KEYS = Table("syntax_keys", KEY + KEY_MEASURES, ("layer", "index"))
SYNTAX_PROFILES = Table(
    "syntax_profiles",
    (
        *KEY,
        Column("aspect", "VARCHAR", "role, node, statement, expression, declaration or scope"),
        Column("rank", "USMALLINT", "From 1, the most common value"),
        Column("value", "VARCHAR"),
        Column("triggers", "USMALLINT", "Triggers with this value"),
        Column("share", "FLOAT", "Share of the key's triggers"),
        Column("base", "FLOAT", "Share of all tokens of the corpus, with languages weighted as among the triggers"),
        Column("lift", "FLOAT", "Share over base: 1 is chance"),
        Column("sample_share", "FLOAT", "Share of the key's weaker samples in which it fires"),
        Column(
            "q",
            "DOUBLE",
            "Most common value only: p-value of as many triggers at random places, corrected for all keys",
        ),
        Column(
            "distinct_q",
            "DOUBLE",
            "The same, counting equal trigger tokens, equal preceding tokens and equal positions once and comparing with "
            "others about as common; the largest of the three. Small if a few repeated tokens do not explain the value",
        ),
    ),
    ("layer", "index", "aspect", "rank"),
)
SYNTAX_LAYERS = Table(
    "syntax_layers",
    (
        Column("measure", "VARCHAR"),
        Column("layer", "USMALLINT"),
        Column("keys", "UINTEGER", "Number of keys measured"),
        Column("mean", "DOUBLE"),
        *_INTERVAL,
        Column("lower_quartile", "DOUBLE", "A quarter of the keys are below it; empty for shares of keys"),
        Column("median", "DOUBLE"),
        Column("upper_quartile", "DOUBLE", "A quarter of the keys are above"),
        *_RESTS_ON,
    ),
    ("measure", "layer"),
)
SYNTAX_TRENDS = Table(
    "syntax_trends",
    (
        Column("measure", "VARCHAR"),
        Column("keys", "UINTEGER", "Number of keys measured"),
        Column("difference", "DOUBLE", "Mean of the upper half of the layers minus that of the lower half"),
        *_INTERVAL,
        *_RESTS_ON,
    ),
    ("measure",),
)
SYNTAX_LAYER_VALUES = Table(
    "syntax_layer_values",
    (
        Column("aspect", "VARCHAR"),
        Column("value", "VARCHAR"),
        Column("layer", "USMALLINT"),
        Column("triggers", "UBIGINT", "Triggers with this value, of all keys of the layer"),
        Column("share", "DOUBLE", "Share of the triggers of all keys of the layer"),
        *_INTERVAL,
        Column("base", "DOUBLE", "Share of all tokens of the corpus, with languages weighted as among the triggers"),
        Column("lift", "DOUBLE", "Share over base: 1 is chance"),
        Column("keys", "UINTEGER", "Keys whose most common value it is"),
        Column("significant", "UINTEGER", "Those with distinct_q up to 0.05"),
        *_RESTS_ON,
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
        *ends(),
        Column("files", "UINTEGER", "Files of the language"),
        PROJECTS,
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
