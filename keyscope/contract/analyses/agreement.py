"""Layer agreement: how often each layer already predicts what the whole model predicts, also by context size."""

from keyscope.contract.analyses.intervals import PROJECTS, ends
from keyscope.contract.tables import Column, Table

LAYER_MEASURES = {
    "residual": "The residual after the layer, through final norm and head, has the model's own top token",
    "ff": "What the feed-forward layer adds, L(y) without biases, has the model's own top token",
    "ff_raw": "The same for the raw projection E y, without the final norm",
    "value": "The value with the largest |coefficient| times length has the model's own top token",
    "correct": "The top token of the residual after the layer is the token that follows in the file",
    "probability": "Mean probability of the model's own token after the layer",
    "rank": "Geometric mean of the rank of the model's own token after the layer, from 1",
    "top_ten": "The model's own token is among the top ten after the layer",
    "settled": "The model's own token is on top from this layer on, but not just before it (prediction depth)",
    "gained": "The model's own token becomes the top token at this layer",
    "lost": "The model's own token is on top just before this layer but not after it",
    "eliminated": "The top token before this layer is another one after it",
    "split_residual": "The residual before the feed-forward layer decides: top(o) = top(r) ≠ top(y)",
    "split_agreement": "Both agree: top(o) = top(r) = top(y)",
    "split_ffn": "The feed-forward output decides: top(o) = top(y) ≠ top(r)",
    "split_composition": "Neither decides alone: top(o) is neither top(r) nor top(y)",
    "zero_agreement": "No firing key's value has the top token of the feed-forward output",
    "active": "Mean share of the layer's keys with a coefficient above 0",
}
"""Measured for every layer over tokens; each is a share of the tokens unless it says otherwise."""

SHARED_OUT = ("split_residual", "split_agreement", "split_ffn", "split_composition")
"""Measures that add up to all tokens of a layer; rows with an empty `layer` hold their means over all layers."""

TOKEN_MEASURES = {
    "depth": "Mean prediction depth: the first layer after which the top token no longer changes, from 0",
    "saturated": "The top token is final before the last layer",
}
"""Measured once per token; `layer` is empty."""

CONTROLS = {
    "other_position": "Compared with the model's own token half a window away: agreement by chance in the same code",
    "permuted_values": "With the values of the layer's keys permuted among them",
}

SPLITS = {
    "all": "All tokens",
    "language": "By the file's language",
    "role": "By the syntactic role of the token that follows",
    "continuation": "By whether the token that follows continues a word",
    "position": "By the number of tokens before it in its window",
}

LENSES = {
    "logit": "The residual after the layer through final norm and head, as if later layers did nothing to it",
    "ridge": "The same after an affine map into the last residual, fitted by ridge regression on other projects",
}

LENS_MEASURES = {
    "agreement": "The top token is the model's own",
    "kl": "KL divergence of the prediction from the model's own, in nats",
    "depth": "Mean prediction depth: the first layer after which the top token no longer changes, from 0",
}
"""Measured through each lens, over the files that neither was fitted on."""

LENS_CONTROLS = {"shuffled_targets": "With a lens fitted on the last residuals of other tokens"}

CONTEXT_MEASURES = {
    "residual": "The top token after the layer is the model's own, given the same context",
    "residual_full": "The top token after the layer is the model's own, given the longest context",
    "same_as_full": "The model's own token is the one it predicts with the longest context",
    "correct": "The model's own token is the one that follows in the file",
    "depth": "Mean prediction depth with that context",
    "log_frequency": "Mean natural logarithm of the corpus frequency of the predicted token",
}

KEY_MEASURES = {
    "agreement": "The value's most promoted token is the one that follows the key's strongest trigger",
    "rank": "Geometric mean of the following token's rank in the value's projection, from 1",
}

_RATE = (
    Column("estimate", "DOUBLE"),
    *ends(),
)

AGREEMENT = Table(
    "agreement",
    (
        Column("measure", "VARCHAR", "One of LAYER_MEASURES or TOKEN_MEASURES"),
        Column("control", "VARCHAR", "One of CONTROLS; empty for the measure itself"),
        Column("split", "VARCHAR", "One of SPLITS"),
        Column("part", "VARCHAR", "Which part of the split: a language, a role, …"),
        Column("layer", "USMALLINT", "Empty if the measure is not about one layer, or for the mean over all layers"),
        *_RATE,
        Column("n", "UBIGINT", "Tokens"),
        Column("files", "UINTEGER", "Files they are in"),
        PROJECTS,
    ),
    ("measure", "control", "split", "part", "layer"),
)
AGREEMENT_CONTEXTS = Table(
    "agreement_contexts",
    (
        Column("size", "USMALLINT", "Tokens of context, including the last one before the predicted token"),
        Column("measure", "VARCHAR", "One of CONTEXT_MEASURES"),
        Column("layer", "USMALLINT", "Empty if the measure is not about one layer"),
        *_RATE,
        Column("n", "UBIGINT", "Tokens, the same for every size"),
        Column("files", "UINTEGER", "Files they are in"),
        PROJECTS,
    ),
    ("size", "measure", "layer"),
)
AGREEMENT_KEYS = Table(
    "agreement_keys",
    (
        Column("measure", "VARCHAR", "One of KEY_MEASURES"),
        Column("control", "VARCHAR", "permuted_values; empty for the measure itself"),
        Column("projection", "VARCHAR", "normed or raw"),
        Column("layer", "USMALLINT", "Empty for keys of all layers"),
        Column("tenth", "UTINYINT", "Decile of all keys by their value's largest probability, from 1; empty for all"),
        *_RATE,
        Column("n", "UBIGINT", "Keys that fire"),
        Column("files", "UINTEGER", "Files with their strongest triggers"),
        PROJECTS,
    ),
    ("measure", "control", "projection", "layer", "tenth"),
)
AGREEMENT_LENSES = Table(
    "agreement_lenses",
    (
        Column("lens", "VARCHAR", "One of LENSES"),
        Column("control", "VARCHAR", "One of LENS_CONTROLS; empty for the lens itself"),
        Column("measure", "VARCHAR", "One of LENS_MEASURES"),
        Column("split", "VARCHAR", "One of SPLITS, or context"),
        Column("part", "VARCHAR", "Which part of the split; the tokens of context"),
        Column("layer", "USMALLINT", "Empty for prediction depth"),
        *_RATE,
        Column("n", "UBIGINT", "Tokens, the same for both lenses: those of files that neither was fitted on"),
        Column("files", "UINTEGER", "Files they are in"),
        PROJECTS,
    ),
    ("lens", "control", "measure", "split", "part", "layer"),
)
TABLES: tuple[Table, ...] = (AGREEMENT, AGREEMENT_CONTEXTS, AGREEMENT_KEYS, AGREEMENT_LENSES)
