"""Layer agreement: how far each layer's prediction is that of the whole model, by context size too."""

from keyscope.contract.tables import Column, Table

LAYER_MEASURES = {
    "residual": "The top token of the residual after the layer, through final norm and head, is the model's own",
    "ff": "The top token of what the feed-forward layer adds, L(y) without biases, is the model's own",
    "ff_raw": "The same by the raw projection E y, without the final norm",
    "value": "The top token of the value with the largest |coefficient| times length is the model's own",
    "correct": "The top token of the residual after the layer is the token that really follows in the file",
    "probability": "Mean probability of the model's own token after the layer",
    "rank": "Geometric mean of the rank of the model's own token after the layer, from 1",
    "top_ten": "The model's own token is among the ten best after the layer",
    "settled": "The model's own token is the top token from this layer on, and was not right before (prediction depth)",
    "gained": "The model's own token becomes the top token at this layer",
    "lost": "The model's own token was the top token right before this layer and is not after it",
    "eliminated": "The top token before this layer, whichever it was, is not the top token after it",
    "split_residual": "The residual before the feed-forward layer decides: top(o) = top(r), the feed-forward output says otherwise",
    "split_agreement": "Both say the same: top(o) = top(r) = top(y)",
    "split_ffn": "The feed-forward output decides: top(o) = top(y), the residual before it says otherwise",
    "split_composition": "Neither alone: top(o) is neither top(r) nor top(y)",
    "zero_agreement": "No firing key's value has the feed-forward output's top token as its own",
    "active": "Mean share of the layer's keys with a coefficient above 0",
}
"""What is measured for every layer, over tokens; every one a share of them unless it says otherwise."""

SHARED_OUT = ("split_residual", "split_agreement", "split_ffn", "split_composition")
"""Measures that share the tokens of a layer out; their means over all layers have rows too, with `layer` empty."""

TOKEN_MEASURES = {
    "depth": "Mean prediction depth: the first layer after which the top token never changes, from 0",
    "saturated": "The top token is settled before the last layer",
}
"""What is measured once for a token; `layer` is empty."""

CONTROLS = {
    "other_position": "Against the model's own token half a window away: agreement by chance in the same code",
    "permuted_values": "With the values of the layer's keys dealt to other keys of the layer",
}

SPLITS = {
    "all": "All tokens",
    "language": "By the file's language",
    "role": "By the role in its code of the token that really follows",
    "continuation": "By whether the token that really follows goes on with a word",
    "position": "By the tokens before it in its window",
}

CONTEXT_MEASURES = {
    "residual": "The top token after the layer is the model's own with the same context",
    "residual_full": "The top token after the layer is the model's own with the longest context",
    "same_as_full": "The model's own token is the one it says with the longest context",
    "correct": "The model's own token is the one that really follows",
    "depth": "Mean prediction depth with that context",
    "log_frequency": "Mean natural logarithm of the share in the corpus of the token the model says",
}

KEY_MEASURES = {
    "agreement": "The token after the key's strongest trigger is the one its value promotes most",
    "rank": "Geometric mean of that token's rank in the value's projection, from 1",
}

_RATE = (
    Column("estimate", "DOUBLE"),
    Column("low", "DOUBLE", "Lower end of the 95 % interval, by bootstrap over files"),
    Column("high", "DOUBLE", "Upper end of that interval"),
)

AGREEMENT = Table(
    "agreement",
    (
        Column("measure", "VARCHAR", "One of LAYER_MEASURES or TOKEN_MEASURES"),
        Column("control", "VARCHAR", "One of CONTROLS; empty for the measure itself"),
        Column("split", "VARCHAR", "One of SPLITS"),
        Column("part", "VARCHAR", "Which language, role, … of the split"),
        Column("layer", "USMALLINT", "Empty where the measure is not about a layer, or is the mean over all layers"),
        *_RATE,
        Column("n", "UBIGINT", "Tokens"),
        Column("files", "UINTEGER", "Files they are in"),
    ),
    ("measure", "control", "split", "part", "layer"),
)
AGREEMENT_CONTEXTS = Table(
    "agreement_contexts",
    (
        Column("size", "USMALLINT", "Tokens of context, the one after which is predicted included"),
        Column("measure", "VARCHAR", "One of CONTEXT_MEASURES"),
        Column("layer", "USMALLINT", "Empty where the measure is not about a layer"),
        *_RATE,
        Column("n", "UBIGINT", "Tokens, the same for every size"),
        Column("files", "UINTEGER", "Files they are in"),
    ),
    ("size", "measure", "layer"),
)
AGREEMENT_KEYS = Table(
    "agreement_keys",
    (
        Column("measure", "VARCHAR", "One of KEY_MEASURES"),
        Column("control", "VARCHAR", "permuted_values, or empty for the measure itself"),
        Column("projection", "VARCHAR", "normed or raw"),
        Column("layer", "USMALLINT", "Empty for keys of all layers"),
        Column("tenth", "UTINYINT", "Tenth of all keys by their value's largest probability, from 1; or empty"),
        *_RATE,
        Column("n", "UBIGINT", "Keys that fire"),
        Column("files", "UINTEGER", "Files that their strongest triggers are in"),
    ),
    ("measure", "control", "projection", "layer", "tenth"),
)
TABLES: tuple[Table, ...] = (AGREEMENT, AGREEMENT_CONTEXTS, AGREEMENT_KEYS)
