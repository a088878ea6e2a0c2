"""When keys fire: position, language, token detectors, dead keys; and classes of keys by their weights."""

from keyscope.contract.analyses.intervals import PROJECTS
from keyscope.contract.tables import KEY, Column, Table

LEVELS = {
    "fires": "The coefficient is above 0",
    "strong": "The coefficient is above 0 and above a high quantile of the key's own, read from the run's histograms",
    "peak": "The coefficient is above half the key's largest in the corpus",
}
"""What counts as firing."""

SHAPES = {
    "start": "Fires more in one stretch at the start of the window",
    "end": "Fires more in one stretch at the end of the window",
    "both ends": "Fires more at both ends than in the middle",
    "middle": "Fires more in one stretch inside the window",
    "oscillatory": "Fires more in three or more stretches",
    "other": "Fires more in two stretches that are not both ends",
}
"""Where in the window a positional key fires more: above the midpoint of its lowest and highest rate."""

CLASSES = {
    "prediction": "High kurtosis and positive skewness of cos(E, v) over the vocabulary: promotes a few tokens",
    "suppression": "High kurtosis and negative skewness: suppresses a few tokens",
    "entropy": "Long value in the last layers with hardly any variance over the vocabulary: scales all logits alike",
}
"""Classes of keys by their weights alone (Gurnee et al. 2024)."""

MEASURES = {
    "active": "Mean share of the layer's keys that fire on a token (c > 0)",
    "dead": "Share of keys that fire nowhere in the corpus",
    "positional": "Share of keys whose firing (c > 0) has mutual information with position above the threshold",
    "positional_strong": "The same for strong firing",
    "detectors": "Share of keys that are token detectors when they fire (c > 0)",
    "detectors_strong": "The same when they fire strongly",
    "detectors_peak": "The same when they are above half their largest coefficient",
    "tokens": "Tokens detected by the layer's keys at any level",
    "new_tokens": "Share of these tokens that no layer below detects",
    "suppressing_detectors": "Share of token detectors whose value lowers the logits of their tokens relative to the mean token",
    "suppressing": "The same share among all keys that fire, for the tokens they fire on most",
    "language": "Share of keys specific to a language (LAPE)",
    "language_id": "Share of keys whose mean over a file identifies a language with an F1 of at least 0.8",
    "best_f1": "F1 of the best key: picked on the files that thresholds are chosen on, measured on held-out projects",
    "folded_prediction": "Share of prediction keys, with the final norm folded into E",
    "folded_suppression": "Share of suppression keys, with the final norm folded into E",
    "folded_entropy": "Share of entropy keys, with the final norm folded into E",
    "prediction": "Share of prediction keys in raw E",
    "suppression": "Share of suppression keys in raw E",
    "entropy": "Share of entropy keys in raw E",
    "cos_key_value": "Mean cosine of key and value",
    "cos_up_value": "Mean cosine of up row and value; gated layers only",
}
"""Measures of a layer."""

CENSUS = (
    *(f"{basis}{name}" for basis in ("folded_", "") for name in CLASSES),
    "cos_key_value",
    "cos_up_value",
)
"""Measures computed from the weights of all keys of a layer: nothing is sampled, so they have no interval."""

COUNTED = {
    "active": "Tokens",
    "new_tokens": "Tokens that the layer's keys detect",
    "suppressing_detectors": "Token detectors",
    "suppressing": "Keys that fire",
}
"""What `n` counts; for all other measures, the layer's keys."""

GROUPS = {
    "all layers": "Every layer",
    "lower half": "The lower half of the layers, without the middle one if their number is odd",
    "upper half": "The upper half of the layers, with the middle one",
    "lowest third": "The lowest third of the layers, rounded down, at least one",
    "highest third": "As many of the highest layers",
}
"""Groups of layers."""

UNGROUPED = ("tokens", "new_tokens")
"""Measures without rows for groups of layers, because several layers detect the same tokens."""

HIGHEST = ("best_f1",)
"""Measures whose value for a group is the highest of its layers; the others' is the mean weighted by `n`."""

CONTROLS = {
    "shifted": "Positions rotated within each window by a random number of places",
    "dealt": "Each key's tokens assigned to another key of the layer",
    "drawn": "Each key's file means assigned to files at random",
    "gaussian": "Values drawn from a normal distribution with the layer's mean and variance",
}
"""What the same rule finds where there is nothing to find: chance."""

_MEASURED = (
    Column("measure", "VARCHAR", "One of MEASURES"),
    Column("control", "VARCHAR", "One of CONTROLS; empty for the measure itself"),
    Column("part", "VARCHAR", "A language; empty for all"),
)
_ESTIMATED = (
    Column("estimate", "DOUBLE"),
    Column(
        "low",
        "DOUBLE",
        "Lower end of the 95 % interval, over projects; empty for measures of weights alone, for the "
        "controls drawn and gaussian, and for too few projects",
    ),
    Column("high", "DOUBLE", "Upper end of that interval"),
    Column("n", "UBIGINT", "Number of keys, or of what COUNTED names"),
    Column("files", "UINTEGER", "Files that the interval rests on; empty where there is none"),
    PROJECTS,
)

FIRING_KEYS = Table(
    "firing_keys",
    (
        *KEY,
        Column("strong_level", "FLOAT", "Coefficient above which the key fires strongly"),
        Column("strong_rate", "FLOAT", "Share of tokens on which it fires strongly"),
        Column("position_information", "FLOAT", "Mutual information of firing (c > 0) and window position, in nats"),
        Column("position_information_strong", "FLOAT", "The same for strong firing"),
        Column("position_shape", "VARCHAR", "Where in the window it fires more, if it is positional"),
        Column("strong_language_entropy", "FLOAT", "Entropy of its strong firing rates over languages, in nats"),
        Column(
            "language_p", "DOUBLE", "p-value of differences in its rates between languages (Welch's test over files)"
        ),
        Column("language_q", "DOUBLE", "The same, corrected for all keys (false discovery rate)"),
        Column("specific_language", "VARCHAR", "Language it is specific to (LAPE): low entropy, and a high rate there"),
        Column(
            "language_f1",
            "FLOAT",
            "F1 of identifying a language by its mean over a file, on held-out projects",
        ),
        Column("identified_language", "VARCHAR", "Language it identifies with that F1"),
        Column("own_logit", "FLOAT", "L(v) of the tokens it fires on most, less that of the mean token"),
        Column(
            "detected_tokens", "UTINYINT", "Number of tokens it detects, at the first level at which it detects any"
        ),
        Column("detector_level", "VARCHAR", "Level at which it detects them"),
        Column("weight_class", "VARCHAR", "The same as `folded_class` in raw E, where thresholds do not mean the same"),
        Column(
            "folded_class",
            "VARCHAR",
            "prediction, suppression or entropy, by its weights with the final norm folded into E; empty for most keys",
        ),
    ),
    ("layer", "index"),
)
FIRING_LANGUAGES = Table(
    "firing_languages",
    (
        *KEY,
        Column("language", "VARCHAR"),
        Column("strong_rate", "FLOAT", "Share of the language's tokens on which it fires strongly"),
        Column("f1", "FLOAT", "F1 of identifying the language by the key's mean over a file, on held-out projects"),
        Column(
            "threshold",
            "FLOAT",
            "Mean over a file that separates the language from the others, fitted on the files not held out",
        ),
        Column("above", "BOOLEAN", "Means at or above the threshold predict the language; if false, those below do"),
        Column("fitted_f1", "FLOAT", "F1 on the files not held out, by which keys are picked"),
    ),
    ("layer", "index", "language"),
)
FIRING_POSITIONS = Table(
    "firing_positions",
    (
        *KEY,
        Column("level", "VARCHAR", "fires or strong"),
        Column("rates", "FLOAT[]", "Firing rate in each bucket of window positions"),
    ),
    ("layer", "index", "level"),
)
FIRING_BUCKETS = Table(
    "firing_buckets",
    (
        Column("bucket", "UTINYINT"),
        Column("first", "UINTEGER", "First window position of the bucket, from 0"),
        Column("last", "UINTEGER", "Last window position of the bucket"),
        Column("tokens", "UBIGINT", "Tokens of the corpus in the bucket"),
    ),
    ("bucket",),
)
FIRING_DETECTORS = Table(
    "firing_detectors",
    (
        *KEY,
        Column("level", "VARCHAR", "One of LEVELS"),
        Column("token_id", "INTEGER"),
        Column("occurrences", "UBIGINT", "Occurrences of the token in the corpus"),
        Column("fired", "UBIGINT", "Occurrences on which the key fires"),
        Column("share", "FLOAT", "Share of all tokens the key fires on"),
    ),
    ("layer", "index", "level", "token_id"),
)
FIRING_LAYERS = Table(
    "firing_layers",
    (
        *_MEASURED,
        Column("layer", "USMALLINT"),
        *_ESTIMATED,
    ),
    ("measure", "control", "part", "layer"),
)
FIRING_GROUPS = Table(
    "firing_groups",
    (
        *_MEASURED,
        Column("layers", "VARCHAR", "One of GROUPS"),
        *_ESTIMATED,
    ),
    ("measure", "control", "part", "layers"),
)
TABLES: tuple[Table, ...] = (
    FIRING_KEYS,
    FIRING_LANGUAGES,
    FIRING_POSITIONS,
    FIRING_BUCKETS,
    FIRING_DETECTORS,
    FIRING_LAYERS,
    FIRING_GROUPS,
)
