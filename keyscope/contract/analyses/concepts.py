"""Concepts: where they occur in the corpus and which keys detect them.

Keys are picked on one part of the projects; another is held out to measure on.
"""

from keyscope.contract.analyses.intervals import PROJECTS, ends
from keyscope.contract.tables import KEY, Column, Table

PICKERS = ("any_hit", "fdr", "auroc", "auroc_before", "causal")
"""Ways to pick the keys of a concept, each with a column `rank_PICKER`."""
AUROC_LEVELS = (70, 80, 90)
"""In percent; keys above each level are counted per layer."""
DISTINCT = "distinct"
"""What significant keys are held against where there is no twin: places of other tokens about as common."""
_CONCEPT = Column("concept", "VARCHAR", "Name and the first 8 digits of the definition's sha256")
RANKS = (
    Column(
        "rank_any_hit", "UINTEGER", "Place among the keys with any hit; random, because this picker does not order them"
    ),
    Column("rank_fdr", "UINTEGER", "Place among the significant keys by p"),
    Column("rank_auroc", "UINTEGER", "Place by AUROC"),
    Column("rank_auroc_before", "UINTEGER", "Place by AUROC a token before the concept's"),
    Column(
        "rank_causal",
        "UINTEGER",
        "Place by the key's effect on the concept's tokens: `masked` if it was tried, else `causal`",
    ),
)
KEY_SCORES = (
    Column("strong", "UBIGINT", "Tokens on which the key fires strongly: above the quantile given in the settings"),
    Column("strong_on_concept", "UBIGINT", "Of these, tokens of the concept"),
    Column("precision", "FLOAT", "Share of the tokens the key fires strongly on that belong to the concept"),
    Column("recall", "FLOAT", "Share of the concept's tokens that the key fires strongly on"),
    Column("lift", "FLOAT", "Precision over the concept's share of all tokens: 1 is chance"),
    Column("f1", "FLOAT", "Harmonic mean of precision and recall"),
    Column(
        "auroc",
        "FLOAT",
        "Probability that a token of the concept has a higher coefficient than another token, ties counted half: 0.5 is chance",
    ),
    Column(
        "auroc_before",
        "FLOAT",
        "The same at the tokens before the concept's, where the model predicts them and an edit acts",
    ),
    Column("log_odds_z", "FLOAT", "Log odds ratio of firing strongly on and off the concept, in standard errors"),
    Column("triggers", "USMALLINT", "Stored triggers in files not held out"),
    Column("hits", "USMALLINT", "Triggers with a match of the concept within two lines"),
    Column("chance", "FLOAT", "Probability of any hit if the triggers were unrelated to the concept"),
    Column("p", "DOUBLE", "Probability of at least as many hits if the triggers were random tokens"),
    Column(
        "q",
        "DOUBLE",
        "Hits above random tokens: p corrected for the number of keys (Benjamini and Hochberg 1995). Random weights prefer "
        "tokens too, so a small q is not yet knowledge of the concept",
    ),
    Column(
        "distinct_p",
        "DOUBLE",
        "Probability of at least as many triggers near a match, or on one, with equal trigger tokens, equal preceding tokens "
        "and equal positions counted once and compared with others about as common; the largest of the three, and twice the "
        "smaller of near and on",
    ),
    Column(
        "distinct_q",
        "DOUBLE",
        "distinct_p corrected for the number of keys. A key that goes by a single token has a large one, even if this "
        "token is the concept",
    ),
    Column(
        "twin_q",
        "DOUBLE",
        "The same once the twin's keys of the layer have calibrated distinct_p; empty without a twin",
    ),
    Column("significant", "BOOLEAN", "Beyond chance: by twin_q, or without a twin by distinct_q"),
    Column(
        "causal",
        "FLOAT",
        "Coefficient times the gradient of the log-probability of the concept's tokens, summed over a window; mean per token",
    ),
    Column(
        "predicted",
        "FLOAT",
        "The same in the windows in which the key was masked: what masking it should cost; empty for keys that were not",
    ),
    Column(
        "masked",
        "FLOAT",
        "Log-probability that the concept's tokens really lose when the key alone is masked; mean per token",
    ),
    *RANKS,
)
CONCEPTS = Table(
    "concepts",
    (
        _CONCEPT,
        Column("name", "VARCHAR"),
        Column("title", "VARCHAR"),
        Column("sha256", "VARCHAR", "sha256 of the definition"),
        Column("definition", "VARCHAR", "The concept as JSON"),
        Column("alpha", "DOUBLE", "False discovery rate up to which keys count as significant"),
        Column("against", "VARCHAR", "What significant keys are held against: twin or distinct tokens"),
        Column(
            "sites",
            "UBIGINT",
            "Tokens of the concept that have a token before them to predict from, in files not held out",
        ),
        Column("held_out_files", "UINTEGER", "Files of its languages that are held out"),
        Column("held_out_sites", "UBIGINT", "Such tokens in the held-out files"),
        Column("causal_windows", "UINTEGER", "Windows over which `causal` was computed"),
        Column("causal_sites", "UINTEGER", "Tokens of the concept in these windows"),
        Column("masked_sites", "UINTEGER", "Tokens of the concept in those of them in which keys were masked"),
    ),
    ("concept",),
)
CONCEPT_LANGUAGES = Table(
    "concept_languages",
    (
        _CONCEPT,
        Column("language", "VARCHAR"),
        Column("files", "UINTEGER", "Files not held out"),
        Column("files_with", "UINTEGER", "Of these, files with a match"),
        Column("matches", "UINTEGER", "Matches in these files, overlapping ones counted once"),
        Column("tokens", "UBIGINT", "Tokens of these files"),
        Column("concept_tokens", "UBIGINT", "Tokens that overlap a match"),
        Column("base_rate", "DOUBLE", "Share of tokens with a match within two lines: the chance of a hit"),
        *ends("base_rate"),
        PROJECTS,
    ),
    ("concept", "language"),
)
CONCEPT_KEYS = Table("concept_keys", (_CONCEPT, *KEY, *KEY_SCORES), ("concept", "layer", "index"))
CONCEPT_LAYERS = Table(
    "concept_layers",
    (
        _CONCEPT,
        Column(
            "control",
            "BOOLEAN",
            "Counted for a shuffled copy of the concept: as many spans of the same lengths at random places",
        ),
        Column("layer", "USMALLINT"),
        Column("keys", "UINTEGER"),
        Column("any_hit", "UINTEGER", "Keys with a hit among their triggers"),
        Column("expected", "DOUBLE", "Expected number of such keys by chance: the sum of 1 − (1 − p)^N over the keys"),
        Column("expected_low", "DOUBLE", "Lower end of the range that holds 95 % of such numbers by chance"),
        Column("expected_high", "DOUBLE", "Upper end of that interval"),
        Column("above_random", "UINTEGER", "Keys with more hits than random tokens have, by q"),
        Column("significant", "UINTEGER", "Keys with more hits than chance gives: by the twin, or by distinct tokens"),
        *(Column(f"auroc_{level}", "UINTEGER", f"Keys with an AUROC above 0.{level}") for level in AUROC_LEVELS),
        Column("triggers", "UBIGINT", "Stored triggers of all keys in files not held out"),
        Column("hit_share", "DOUBLE", "Share of these triggers with a hit"),
        *ends("hit_share"),
        Column(
            "chance_share",
            "DOUBLE",
            "Share with a hit by chance: the base rates weighted by the triggers' languages",
        ),
        *ends("chance_share"),
        Column("files", "UINTEGER", "Files with such triggers"),
        PROJECTS,
    ),
    ("concept", "control", "layer"),
)
CONCEPT_EXAMPLES = Table(
    "concept_examples",
    (
        _CONCEPT,
        Column("language", "VARCHAR"),
        Column("rank", "USMALLINT", "From 1, in random order"),
        Column("source", "VARCHAR"),
        Column("path", "VARCHAR"),
        Column("line", "UINTEGER", "Line of the match, from 1"),
        Column("before", "VARCHAR", "Text before the match, from two lines above"),
        Column("match", "VARCHAR"),
        Column("after", "VARCHAR", "Text after the match, up to two lines below"),
    ),
    ("concept", "language", "rank"),
)
TABLES: tuple[Table, ...] = (CONCEPTS, CONCEPT_LANGUAGES, CONCEPT_KEYS, CONCEPT_LAYERS, CONCEPT_EXAMPLES)
