"""Concepts: where they are in the corpus and which keys detect them.

Everything by which keys are picked comes from one half of the files; the other half is held out to measure on.
"""

from keyscope.contract.tables import KEY, Column, Table

PICKERS = ("any_hit", "fdr", "auroc", "causal")
"""Ways to pick the keys of a concept, each with a column `rank_PICKER`."""
AUROC_LEVELS = (70, 80, 90)
"""In per cent; the keys of a layer above each are counted."""
_CONCEPT = Column("concept", "VARCHAR", "Name and the first 8 digits of the definition's sha256")
RANKS = (
    Column("rank_any_hit", "UINTEGER", "Place among the keys with any hit, drawn by lot, for that rule has no order"),
    Column("rank_fdr", "UINTEGER", "Place among the significant keys by p-value"),
    Column("rank_auroc", "UINTEGER", "Place by AUROC"),
    Column("rank_causal", "UINTEGER", "Place by what the key gives to the concept's tokens"),
)
KEY_SCORES = (
    Column("strong", "UBIGINT", "Tokens on which the key fires strongly: above its own quantile in the settings"),
    Column("strong_on_concept", "UBIGINT", "Those of them that are of the concept"),
    Column("precision", "FLOAT", "Share of the tokens the key fires strongly on that are of the concept"),
    Column("recall", "FLOAT", "Share of the concept's tokens that the key fires strongly on"),
    Column("lift", "FLOAT", "Precision over the concept's share of all tokens: 1 is chance"),
    Column("f1", "FLOAT", "Harmonic mean of precision and recall"),
    Column(
        "auroc",
        "FLOAT",
        "Chance that a token of the concept has a higher coefficient than another, ties by half: 0.5 is chance",
    ),
    Column("log_odds_z", "FLOAT", "Log odds ratio of firing strongly on the concept and off it, in standard errors"),
    Column("triggers", "USMALLINT", "Stored triggers in files that are not held out"),
    Column("hits", "USMALLINT", "Triggers with a match of the concept within two lines"),
    Column("chance", "FLOAT", "Probability of any hit for triggers that have nothing to do with the concept"),
    Column("p", "DOUBLE", "Probability of as many hits by chance"),
    Column("q", "DOUBLE", "p corrected for the number of keys (Benjamini and Hochberg 1995)"),
    Column(
        "causal",
        "FLOAT",
        "Coefficient times gradient of the log-probability of the concept's tokens, summed over a window, mean per token",
    ),
    *RANKS,
)
CONCEPTS = Table(
    "concepts",
    (
        _CONCEPT,
        Column("name", "VARCHAR"),
        Column("title", "VARCHAR"),
        Column("sha256", "VARCHAR", "Of the definition"),
        Column("definition", "VARCHAR", "The concept as JSON"),
        Column("alpha", "DOUBLE", "Keys with q up to this count as significant"),
        Column("sites", "UBIGINT", "Tokens of the concept that are predicted from one before, files not held out"),
        Column("held_out_files", "UINTEGER", "Files of its languages that are held out"),
        Column("held_out_sites", "UBIGINT", "Such tokens in them"),
        Column("causal_windows", "UINTEGER", "Windows over which `causal` was taken"),
        Column("causal_sites", "UINTEGER", "Tokens of the concept predicted in them"),
    ),
    ("concept",),
)
CONCEPT_LANGUAGES = Table(
    "concept_languages",
    (
        _CONCEPT,
        Column("language", "VARCHAR"),
        Column("files", "UINTEGER", "Files that are not held out"),
        Column("files_with", "UINTEGER", "Those with a match"),
        Column("matches", "UINTEGER", "Matches in them, overlapping ones counted once"),
        Column("tokens", "UBIGINT", "Their tokens"),
        Column("concept_tokens", "UBIGINT", "Tokens that overlap a match"),
        Column("base_rate", "DOUBLE", "Share of tokens with a match within two lines: the chance of a hit"),
        Column("base_rate_low", "DOUBLE", "Lower end of its 95 % interval, by bootstrap over files"),
        Column("base_rate_high", "DOUBLE", "Upper end"),
    ),
    ("concept", "language"),
)
CONCEPT_KEYS = Table("concept_keys", (_CONCEPT, *KEY, *KEY_SCORES), ("concept", "layer", "index"))
CONCEPT_LAYERS = Table(
    "concept_layers",
    (
        _CONCEPT,
        Column("control", "BOOLEAN", "Counted for a shuffled copy: as many spans of the same lengths anywhere"),
        Column("layer", "USMALLINT"),
        Column("keys", "UINTEGER"),
        Column("any_hit", "UINTEGER", "Keys with a hit among their triggers"),
        Column("expected", "DOUBLE", "Such keys by chance: the sum of 1 − (1 − p)^N over the keys"),
        Column("expected_low", "DOUBLE", "Lower end of what chance gives in 95 % of cases"),
        Column("expected_high", "DOUBLE", "Upper end"),
        Column("significant", "UINTEGER", "Keys with more hits than chance gives, false discovery rate controlled"),
        *(Column(f"auroc_{level}", "UINTEGER", f"Keys with an AUROC above 0.{level}") for level in AUROC_LEVELS),
        Column("triggers", "UBIGINT", "Stored triggers of all keys in files that are not held out"),
        Column("hit_share", "DOUBLE", "Share of them with a hit"),
        Column("hit_share_low", "DOUBLE", "Lower end of its 95 % interval, by bootstrap over files"),
        Column("hit_share_high", "DOUBLE", "Upper end"),
        Column(
            "chance_share",
            "DOUBLE",
            "Share with a hit by chance: the base rates, weighted by the triggers' languages",
        ),
        Column("chance_share_low", "DOUBLE", "Lower end of its 95 % interval, by bootstrap over files"),
        Column("chance_share_high", "DOUBLE", "Upper end"),
    ),
    ("concept", "control", "layer"),
)
CONCEPT_EXAMPLES = Table(
    "concept_examples",
    (
        _CONCEPT,
        Column("language", "VARCHAR"),
        Column("rank", "USMALLINT", "From 1, in an order drawn by lot"),
        Column("source", "VARCHAR"),
        Column("path", "VARCHAR"),
        Column("line", "UINTEGER", "Line of the match, from 1"),
        Column("before", "VARCHAR", "Text before it, from two lines above"),
        Column("match", "VARCHAR"),
        Column("after", "VARCHAR", "Text behind it, to two lines below"),
    ),
    ("concept", "language", "rank"),
)
TABLES: tuple[Table, ...] = (CONCEPTS, CONCEPT_LANGUAGES, CONCEPT_KEYS, CONCEPT_LAYERS, CONCEPT_EXAMPLES)
