"""Edits: how masking a concept's keys changes predictions of the concept and of everything else, against control masks.

All on held-out files. A place is a token the model predicts from the tokens before it in its window.
"""

from typing import Literal

from keyscope.contract.analyses.intervals import PROJECTS, ends
from keyscope.contract.tables import KEY, Column, Table

BASKET = "basket"
"""Picker of an edit whose keys are a person's own basket; those in `concepts.PICKERS` take a concept's ranking."""
Operation = Literal["scale", "mean", "resample"]
"""What becomes of a masked coefficient: it is multiplied, replaced by its mean over general code of the token's language,
or replaced by the one at a random place there."""
CONTROLS = ("damage", "matched", "random")
"""Keys masked for comparison: as many like the edit's as do the same damage to general code, ones that fire as often and
write as much, and random ones of the same layers."""
CHANGED = ("dose", "range", "zero", "resample")
"""Roles of the conditions that mask keys of the edit."""
MEASURES = ("accuracy", "loss", "rank", "kl")
GROUPS = ("concept", "near", "general", "collateral")
"""Places: of the concept, others in the same windows before its last one, those in windows without it, and those of other concepts."""

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
_OPERATION = Column(
    "operation",
    "VARCHAR",
    "What becomes of the coefficients: scale (times the factor), mean (over general code of the language) or resample (from "
    "a random place there); empty in edits older than this column, which scaled",
)


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
        Column("factor", "DOUBLE", "Factor the coefficients are multiplied by, where they are scaled"),
        Column(
            "share", "DOUBLE", "Share of all keys requested for the main dose; empty if it was chosen, and for a basket"
        ),
        Column("keys", "UINTEGER", "Keys masked at the main dose"),
        Column("draws", "UINTEGER", "Number of draws of controls matched on damage"),
        Column("resamples", "UINTEGER", "Draws of places to resample from"),
        Column("chosen", "BOOLEAN", "Whether the main dose was chosen on files of its own"),
        Column(
            "damage", "DOUBLE", "Rise of general code's loss that controls were matched on, in nats, on those files"
        ),
        Column(
            "primary",
            "DOUBLE",
            "The registered endpoint: the concept's rise of loss with the keys at their means, less that of the controls matched on damage, in nats",
        ),
        *ends("primary"),
        Column(
            "primary_p",
            "DOUBLE",
            "Two-sided p of the endpoint by Student's t, from its spread over projects and over the controls' draws; not corrected for other edits",
        ),
        Column("detectable", "DOUBLE", "Endpoint that would be found with probability 0.8 at the level 0.05, in nats"),
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
        Column("centre", "DOUBLE", "Mean coefficient where the concept is predicted, in files that keys are picked on"),
        Column("spread", "DOUBLE", "Standard deviation of these coefficients"),
    ),
    ("edit", "rank"),
)
EDIT_MEANS = Table(
    "edit_means",
    (
        _EDIT,
        Column("rank", "UINTEGER", "Place of the key in the ranking, from 1"),
        *KEY,
        Column("language", "VARCHAR"),
        Column(
            "mean",
            "DOUBLE",
            "Mean coefficient over general code of files that keys are picked on; the main dose's keys",
        ),
    ),
    ("edit", "rank", "language"),
)
EDIT_CONDITIONS = Table(
    "edit_conditions",
    (
        _EDIT,
        _CONDITION,
        Column(
            "role",
            "VARCHAR",
            "baseline, dose, range, zero (the main dose scaled), resample (the mean over the draws), random, matched or damage",
        ),
        _OPERATION,
        Column(
            "main",
            "BOOLEAN",
            "Masks the keys of the main dose, everywhere or within a range; controls are compared with it",
        ),
        Column("draw", "USMALLINT", "Number of the control's draw, from 0"),
        Column("keys", "UINTEGER", "Keys masked"),
        Column("damage", "DOUBLE", "Rise of general code's loss in nats that the number of keys was chosen by"),
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
        *_measured(
            "kl",
            "DOUBLE",
            "Kullback–Leibler divergence of the predictions from those of the baseline, KL(baseline‖masked), in nats",
            "The same: the baseline's is 0",
        ),
    ),
    ("edit", "condition", "group", "name"),
)
EDIT_CONTROLS = Table(
    "edit_controls",
    (
        _EDIT,
        *_GROUP,
        Column("control", "VARCHAR", "damage, matched or random"),
        _OPERATION,
        Column("measure", "VARCHAR", "accuracy, loss, rank or kl; changes of rank are logarithms of the ratio here"),
        Column("draws", "UINTEGER"),
        Column("mean", "DOUBLE", "Mean change over the draws"),
        Column("deviation", "DOUBLE", "Standard deviation of the change over the draws"),
        Column("smallest", "DOUBLE"),
        Column("largest", "DOUBLE"),
        Column("z", "DOUBLE", "The edit's change minus the mean, in standard deviations"),
        Column("p", "DOUBLE", "Share of the draws, the edit included, that do at least as much harm as the edit"),
        Column("excess", "DOUBLE", "The edit's change minus the mean change of the controls"),
        *ends("excess"),
        _FILES,
        PROJECTS,
    ),
    ("edit", "group", "name", "control", "operation", "measure"),
)
EDIT_CONTRASTS = Table(
    "edit_contrasts",
    (
        _EDIT,
        _CONDITION,
        Column("against", "VARCHAR", "near or general: the places the concept's places are compared with"),
        Column("measure", "VARCHAR", "accuracy, loss, rank or kl; changes of rank are logarithms of the ratio here"),
        Column("difference", "DOUBLE", "Change at the concept's places minus the change at the others"),
        *ends(),
        _FILES,
        PROJECTS,
    ),
    ("edit", "condition", "against", "measure"),
)
EDIT_SITES = Table(
    "edit_sites",
    (
        _EDIT,
        Column("language", "VARCHAR"),
        Column("project", "VARCHAR"),
        Column("source", "VARCHAR"),
        Column("path", "VARCHAR"),
        Column("line", "UINTEGER", "Line of the token, from 1"),
        Column("column", "UINTEGER", "Its column in characters, from 0"),
        Column("token", "VARCHAR", "A token of the concept"),
        Column("loss", "DOUBLE", "Its −log probability in nats, unmasked"),
        Column(
            "loss_mean",
            "DOUBLE",
            "Change of the loss with the main dose's keys at their means; the log probability changes by as much the other way",
        ),
        Column("loss_zero", "DOUBLE", "Change with their coefficients scaled by the edit's factor"),
        Column("loss_resample", "DOUBLE", "Change with their coefficients from random places, mean over the draws"),
        Column("kl", "DOUBLE", "KL(baseline‖masked) of the prediction, in nats, with the keys at their means"),
        Column("right", "BOOLEAN", "Whether it was the most probable token, unmasked"),
        Column("right_mean", "BOOLEAN", "Whether it still is with the keys at their means"),
        Column("coefficient", "DOUBLE", "Coefficient of the edit's first key where the token is predicted"),
    ),
    ("edit", "language", "path", "line", "column"),
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
        Column(
            "masked_loss",
            "DOUBLE",
            "Its −log probability with the main dose's keys at their means; scaled in older edits",
        ),
    ),
    ("edit", "rank"),
)
TABLES: tuple[Table, ...] = (
    EDITS,
    EDIT_KEYS,
    EDIT_MEANS,
    EDIT_CONDITIONS,
    EDIT_EFFECTS,
    EDIT_CONTROLS,
    EDIT_CONTRASTS,
    EDIT_SITES,
    EDIT_PROMPTS,
)
"""One edit per file; changes are paired with the baseline at the same places."""
