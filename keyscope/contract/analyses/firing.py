"""When keys fire: position, language, token detectors, dead keys; and what their weights say of them."""

from keyscope.contract.tables import KEY, Column, Table

LEVELS = {
    "fires": "The coefficient is above 0",
    "strong": "The coefficient is above the key's own high quantile, read off the run's histograms, and above 0",
    "peak": "The coefficient is above half the key's largest in the corpus",
}
"""What counts as firing."""

SHAPES = {
    "start": "It fires more in one stretch that begins with the window",
    "end": "It fires more in one stretch that ends with the window",
    "both ends": "It fires more at both ends than in the middle",
    "middle": "It fires more in one stretch inside the window",
    "oscillatory": "It fires more in three stretches or more",
    "other": "It fires more in two stretches that are not both ends",
}
"""Where in the window a positional key fires more: over halfway between its lowest and its highest rate."""

CLASSES = {
    "prediction": "High kurtosis of cos(E, v) over the vocabulary and positive skewness: promotes few tokens",
    "suppression": "High kurtosis and negative skewness: suppresses few tokens",
    "entropy": "In the last layers, long, and with hardly any variance over the vocabulary: scales all logits alike",
}
"""What a key is by its weights alone (Gurnee et al. 2024)."""

MEASURES = {
    "active": "Mean share of the layer's keys that fire on a token (c > 0)",
    "dead": "Share of keys that fire nowhere in the corpus",
    "positional": "Share of keys with mutual information of firing (c > 0) and position over the threshold",
    "positional_strong": "The same of firing strongly",
    "detectors": "Share of keys that detect tokens when they fire (c > 0)",
    "detectors_strong": "The same when they fire strongly",
    "detectors_peak": "The same when they are over half their largest coefficient",
    "tokens": "Tokens detected by the layer's keys, at whichever level",
    "new_tokens": "Share of these tokens that no layer below detects",
    "suppressing_detectors": "Share of token detectors whose value lowers the logits of their tokens, against the mean token",
    "suppressing": "The same share of all keys that fire, for the tokens they fire on most",
    "language": "Share of keys that are specific to a language (LAPE)",
    "language_id": "Share of keys whose mean over a file tells one language from the others with F1 of 0.8 or more",
    "best_f1": "Highest F1 of a single key",
    "prediction": "Share of prediction keys",
    "suppression": "Share of suppression keys",
    "entropy": "Share of entropy keys",
    "cos_key_value": "Mean cosine of key and value",
    "cos_up_value": "Mean cosine of up row and value; gated layers only",
}
"""What is said of a layer."""

CENSUS = ("prediction", "suppression", "entropy", "cos_key_value", "cos_up_value")
"""Measures that follow from the weights of all the layer's keys: nothing is drawn, so they have no interval."""

COUNTED = {
    "active": "Tokens",
    "new_tokens": "Tokens that the layer's keys detect",
    "suppressing_detectors": "Token detectors",
    "suppressing": "Keys that fire",
}
"""What n counts; of the other measures, the layer's keys."""

GROUPS = {
    "all layers": "Every layer",
    "lower half": "The lower half of the layers, without the middle one of an odd number",
    "upper half": "The upper half of them, with the middle one",
    "lowest third": "The lowest third of the layers, rounded down, one at least",
    "highest third": "As many of the highest",
}
"""Layers that are taken together."""

UNGROUPED = ("tokens", "new_tokens")
"""Measures that have no row for layers together, for layers detect the same tokens."""

HIGHEST = ("best_f1",)
"""Measures of which the highest of several layers stands for all; of the others it is their mean, weighted by n."""

CONTROLS = {
    "shifted": "Positions shifted round within each window by a random number of places",
    "dealt": "Each key's tokens dealt to another key of the layer",
    "drawn": "Each key's file means dealt to the files at random",
    "gaussian": "Values drawn from a bell curve with mean and variance of the layer's",
}
"""What the same rule finds where there is nothing to find."""

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
        "Lower end of the 95 % interval, by bootstrap over files; empty for what follows from weights alone, for the "
        "controls drawn and gaussian, and for too few files",
    ),
    Column("high", "DOUBLE", "Upper end of it"),
    Column("n", "UBIGINT", "Keys, or what COUNTED says"),
)

FIRING_KEYS = Table(
    "firing_keys",
    (
        *KEY,
        Column("strong_level", "FLOAT", "Coefficient over which the key fires strongly"),
        Column("strong_rate", "FLOAT", "Share of tokens on which it fires strongly"),
        Column("position_information", "FLOAT", "Mutual information of firing (c > 0) and window position, in nats"),
        Column("position_information_strong", "FLOAT", "The same of firing strongly"),
        Column("position_shape", "VARCHAR", "Where in the window it fires more, for keys over the threshold"),
        Column("strong_language_entropy", "FLOAT", "Entropy over languages of its rates of firing strongly, in nats"),
        Column("language_p", "DOUBLE", "Chance of rates by language as far apart in files of one kind (Welch)"),
        Column("language_q", "DOUBLE", "The same as false discovery rate over all keys"),
        Column("specific_language", "VARCHAR", "Language it is specific to (LAPE): low entropy, high rate there"),
        Column(
            "language_f1",
            "FLOAT",
            "F1 of telling one language from the others by its mean over a file, on held-out files",
        ),
        Column("identified_language", "VARCHAR", "Language of that F1"),
        Column("own_logit", "FLOAT", "L(v) of the tokens it fires on most, over the mean token"),
        Column("detected_tokens", "UTINYINT", "Tokens it detects, at the first level at which it does; 0 for none"),
        Column("detector_level", "VARCHAR", "That level"),
        Column("weight_class", "VARCHAR", "prediction, suppression or entropy, by its weights; empty for most"),
    ),
    ("layer", "index"),
)
FIRING_LANGUAGES = Table(
    "firing_languages",
    (
        *KEY,
        Column("language", "VARCHAR"),
        Column("strong_rate", "FLOAT", "Share of the language's tokens on which it fires strongly"),
        Column("f1", "FLOAT", "F1 of telling the language by the key's mean over a file, on held-out files"),
        Column(
            "threshold",
            "FLOAT",
            "Mean over a file from which the language is said, or below which, fixed on the other files",
        ),
        Column("above", "BOOLEAN", "The language is said from the threshold upwards"),
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
        Column("last", "UINTEGER", "Last window position of it"),
        Column("tokens", "UBIGINT", "Tokens of the corpus in it"),
    ),
    ("bucket",),
)
FIRING_DETECTORS = Table(
    "firing_detectors",
    (
        *KEY,
        Column("level", "VARCHAR", "One of LEVELS"),
        Column("token_id", "INTEGER"),
        Column("occurrences", "UBIGINT", "Of the token in the corpus"),
        Column("fired", "UBIGINT", "Of these, with the key firing"),
        Column("share", "FLOAT", "Of all the key's firing"),
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
