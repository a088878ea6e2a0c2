"""Edits: what masking a concept's keys does to it and to everything else, beside masks of other keys.

All on held-out files. A place is a token that the model predicts from the tokens before it in its window.
"""

from keyscope.contract.analyses.concepts import PICKERS
from keyscope.contract.tables import KEY, Column, Table

BASKET = "basket"
EDIT_PICKERS = (*PICKERS, BASKET)
"""Where an edit's keys come from: a concept's ranking, or a basket that somebody put together."""
CONTROLS = ("random", "matched")
"""Other keys masked for comparison: any of the same layers, and such that fire as often and write as much."""
MEASURES = ("accuracy", "loss", "rank")
GROUPS = ("concept", "near", "general", "collateral")
"""Places: of the concept, beside it in the same windows, in windows without it, and of other concepts."""

_EDIT = Column("edit", "VARCHAR", "Concept with the start of the definition's sha256, then that of the settings'")
_GROUP = (
    Column("group", "VARCHAR", "concept, near (the same windows), general (windows without it) or collateral"),
    Column(
        "name",
        "VARCHAR",
        "General: a language, empty for all in which the concept is defined; collateral: the other concept; else empty",
    ),
)
_CONDITION = Column("condition", "USMALLINT", "0 masks nothing")


def _measured(name: str, type: str, help: str, change: str) -> tuple[Column, ...]:
    return (
        Column(name, type, help),
        Column(f"{name}_change", type, change),
        Column(f"{name}_low", type, "Lower end of the change's 95 % interval, by bootstrap over files"),
        Column(f"{name}_high", type, "Upper end"),
    )


EDITS = Table(
    "edits",
    (
        _EDIT,
        Column("concept", "VARCHAR", "Name and the first 8 digits of the definition's sha256"),
        Column("title", "VARCHAR", "What people call the concept"),
        Column("languages", "VARCHAR[]", "Languages in which the concept is defined"),
        Column("picker", "VARCHAR", "Where the keys come from"),
        Column("factor", "DOUBLE", "What the coefficients are multiplied by"),
        Column("share", "DOUBLE", "Share of all keys that was asked for at the main dose; empty for a basket"),
        Column("keys", "UINTEGER", "Keys masked at the main dose"),
        Column("draws", "UINTEGER", "Draws of each kind of control"),
        Column("tau", "DOUBLE", "Standard deviations around the mean within which range masking acts"),
        Column("windows", "UINTEGER", "Windows with the concept"),
        Column("general_windows", "UINTEGER", "Windows without it"),
    ),
    ("edit",),
)
EDIT_KEYS = Table(
    "edit_keys",
    (
        _EDIT,
        Column("rank", "UINTEGER", "Place in the ranking, from 1; a dose of n masks the first n"),
        *KEY,
        Column("factor", "DOUBLE", "What the coefficient is multiplied by"),
        Column("centre", "DOUBLE", "Mean coefficient where the concept is predicted, files not held out"),
        Column("spread", "DOUBLE", "Standard deviation there; empty past the main dose"),
    ),
    ("edit", "rank"),
)
EDIT_CONDITIONS = Table(
    "edit_conditions",
    (
        _EDIT,
        _CONDITION,
        Column("role", "VARCHAR", "baseline, dose, range, random or matched"),
        Column(
            "main",
            "BOOLEAN",
            "Masks the keys of the main dose, against which controls are held: throughout or within a range",
        ),
        Column("draw", "USMALLINT", "Number of a control's draw, from 0"),
        Column("keys", "UINTEGER", "Keys masked"),
        Column("firing_rate", "DOUBLE", "Mean firing rate of these keys over the corpus"),
        Column("norm_value", "DOUBLE", "Mean length of their values"),
    ),
    ("edit", "condition"),
)
EDIT_EFFECTS = Table(
    "edit_effects",
    (
        _EDIT,
        _CONDITION,
        *_GROUP,
        Column("places", "UBIGINT", "Tokens predicted"),
        Column("files", "UINTEGER", "Files they are in"),
        *_measured(
            "accuracy",
            "DOUBLE",
            "Share of places where the most probable token is the true one",
            "Less that of the baseline at the same places",
        ),
        *_measured("loss", "DOUBLE", "Mean −log probability of the true token, in nats", "Less that of the baseline"),
        *_measured(
            "rank",
            "DOUBLE",
            "Geometric mean of the true token's place among all tokens by probability, from 1",
            "Over that of the baseline: 2 doubles the place",
        ),
    ),
    ("edit", "condition", "group", "name"),
)
EDIT_CONTROLS = Table(
    "edit_controls",
    (
        _EDIT,
        *_GROUP,
        Column("control", "VARCHAR", "random or matched"),
        Column("measure", "VARCHAR", "accuracy, loss, or rank, whose changes are logarithms of the ratio here"),
        Column("draws", "UINTEGER"),
        Column("mean", "DOUBLE", "Mean change over the draws"),
        Column("deviation", "DOUBLE", "Standard deviation of the change over the draws"),
        Column("smallest", "DOUBLE"),
        Column("largest", "DOUBLE"),
        Column("z", "DOUBLE", "The edit's change less the mean, in standard deviations"),
        Column("p", "DOUBLE", "Share of the draws, the edit counted among them, that do as much harm as the edit"),
        Column("excess", "DOUBLE", "The edit's change less the mean change of the controls"),
        Column("excess_low", "DOUBLE", "Lower end of its 95 % interval, by bootstrap over files"),
        Column("excess_high", "DOUBLE", "Upper end"),
    ),
    ("edit", "group", "name", "control", "measure"),
)
EDIT_CONTRASTS = Table(
    "edit_contrasts",
    (
        _EDIT,
        _CONDITION,
        Column("against", "VARCHAR", "near or general: what the concept's places are compared with"),
        Column("measure", "VARCHAR", "accuracy, loss, or rank, whose changes are logarithms of the ratio here"),
        Column("difference", "DOUBLE", "Change at the concept's places less the change there"),
        Column("low", "DOUBLE", "Lower end of its 95 % interval, by bootstrap over files"),
        Column("high", "DOUBLE", "Upper end"),
    ),
    ("edit", "condition", "against", "measure"),
)
EDIT_PROMPTS = Table(
    "edit_prompts",
    (
        _EDIT,
        Column("rank", "USMALLINT", "From 1: where the true token loses most; at most one a file"),
        Column("language", "VARCHAR"),
        Column("path", "VARCHAR"),
        Column("line", "UINTEGER", "Line of the token, from 1"),
        Column("prompt", "VARCHAR", "The window's text before a token of the concept"),
        Column("token", "VARCHAR", "That token"),
        Column("loss", "DOUBLE", "Its −log probability"),
        Column("masked_loss", "DOUBLE", "Its −log probability with the main dose masked"),
    ),
    ("edit", "rank"),
)
TABLES: tuple[Table, ...] = (
    EDITS,
    EDIT_KEYS,
    EDIT_CONDITIONS,
    EDIT_EFFECTS,
    EDIT_CONTROLS,
    EDIT_CONTRASTS,
    EDIT_PROMPTS,
)
"""Of one edit a file; the changes of every condition are against the baseline at the same places, paired."""
