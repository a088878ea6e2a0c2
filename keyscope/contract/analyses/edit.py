"""Edits: how masking a concept's keys changes predictions of the concept and of everything else, against control masks.

All on held-out files. A place is a token the model predicts from the tokens before it in its window.
"""

from keyscope.contract.analyses.intervals import PROJECTS
from keyscope.contract.tables import KEY, Column, Table

BASKET = "basket"
"""Picker of an edit whose keys are a person's own basket; those in `concepts.PICKERS` take a concept's ranking."""
CONTROLS = ("random", "matched")
"""Keys masked for comparison: random ones of the same layers, and ones that fire as often and write as much."""
MEASURES = ("accuracy", "loss", "rank")
GROUPS = ("concept", "near", "general", "collateral")
"""Places: of the concept, others in the same windows, those in windows without it, and those of other concepts."""

_EDIT = Column(
    "edit", "VARCHAR", "Name of the concept, start of its definition's sha256, start of the settings' sha256"
)
_GROUP = (
    Column(
        "group",
        "VARCHAR",
        "concept, near (same windows), general (windows without the concept) or collateral (other concepts)",
    ),
    Column(
        "name",
        "VARCHAR",
        "General: the language, empty for all languages of the concept; collateral: the other concept; otherwise empty",
    ),
)
_FILES = Column("files", "UINTEGER", "Files that the interval rests on")
_CONDITION = Column("condition", "USMALLINT", "0 masks nothing")


def _measured(name: str, kind: str, about: str, change: str) -> tuple[Column, ...]:
    return (
        Column(name, kind, about),
        Column(f"{name}_change", kind, change),
        Column(f"{name}_low", kind, "Lower end of the change's 95 % interval, over projects"),
        Column(f"{name}_high", kind, "Upper end of that interval"),
    )


EDITS = Table(
    "edits",
    (
        _EDIT,
        Column("concept", "VARCHAR", "Name and the first 8 digits of the definition's sha256"),
        Column("title", "VARCHAR", "Title of the concept"),
        Column("languages", "VARCHAR[]", "Languages in which the concept is defined"),
        Column("picker", "VARCHAR", "Where the keys come from"),
        Column("factor", "DOUBLE", "Factor the coefficients are multiplied by"),
        Column("share", "DOUBLE", "Share of all keys requested for the main dose; empty for a basket"),
        Column("keys", "UINTEGER", "Keys masked at the main dose"),
        Column("draws", "UINTEGER", "Number of draws per kind of control"),
        Column("tau", "DOUBLE", "Range masking acts within this many standard deviations of the mean"),
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
        Column("factor", "DOUBLE", "Factor the coefficient is multiplied by"),
        Column("centre", "DOUBLE", "Mean coefficient where the concept is predicted, in files not held out"),
        Column("spread", "DOUBLE", "Standard deviation of these coefficients; empty beyond the main dose"),
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
            "Masks the keys of the main dose, everywhere or within a range; controls are compared with it",
        ),
        Column("draw", "USMALLINT", "Number of the control's draw, from 0"),
        Column("keys", "UINTEGER", "Keys masked"),
        Column("firing_rate", "DOUBLE", "Mean firing rate of these keys in the corpus"),
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
        PROJECTS,
        *_measured(
            "accuracy",
            "DOUBLE",
            "Share of places where the true token is the most probable one",
            "Minus that of the baseline at the same places",
        ),
        *_measured("loss", "DOUBLE", "Mean −log probability of the true token, in nats", "Minus that of the baseline"),
        *_measured(
            "rank",
            "DOUBLE",
            "Geometric mean of the true token's rank by probability, from 1",
            "Divided by that of the baseline: 2 means twice the rank",
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
        Column("measure", "VARCHAR", "accuracy, loss or rank; changes of rank are logarithms of the ratio here"),
        Column("draws", "UINTEGER"),
        Column("mean", "DOUBLE", "Mean change over the draws"),
        Column("deviation", "DOUBLE", "Standard deviation of the change over the draws"),
        Column("smallest", "DOUBLE"),
        Column("largest", "DOUBLE"),
        Column("z", "DOUBLE", "The edit's change minus the mean, in standard deviations"),
        Column("p", "DOUBLE", "Share of the draws, the edit included, that do at least as much harm as the edit"),
        Column("excess", "DOUBLE", "The edit's change minus the mean change of the controls"),
        Column("excess_low", "DOUBLE", "Lower end of its 95 % interval, over projects"),
        Column("excess_high", "DOUBLE", "Upper end of that interval"),
        _FILES,
        PROJECTS,
    ),
    ("edit", "group", "name", "control", "measure"),
)
EDIT_CONTRASTS = Table(
    "edit_contrasts",
    (
        _EDIT,
        _CONDITION,
        Column("against", "VARCHAR", "near or general: the places the concept's places are compared with"),
        Column("measure", "VARCHAR", "accuracy, loss or rank; changes of rank are logarithms of the ratio here"),
        Column("difference", "DOUBLE", "Change at the concept's places minus the change at the others"),
        Column("low", "DOUBLE", "Lower end of its 95 % interval, over projects"),
        Column("high", "DOUBLE", "Upper end of that interval"),
        _FILES,
        PROJECTS,
    ),
    ("edit", "condition", "against", "measure"),
)
EDIT_PROMPTS = Table(
    "edit_prompts",
    (
        _EDIT,
        Column("rank", "USMALLINT", "From 1, the largest loss of the true token; at most one per file"),
        Column("language", "VARCHAR"),
        Column("path", "VARCHAR"),
        Column("line", "UINTEGER", "Line of the token, from 1"),
        Column("prompt", "VARCHAR", "The window's text before a token of the concept"),
        Column("token", "VARCHAR", "That token"),
        Column("loss", "DOUBLE", "Its −log probability, unmasked"),
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
"""One edit per file; changes are paired with the baseline at the same places."""
