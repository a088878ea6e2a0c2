"""Reads run files: each function runs one SELECT and returns dataclasses.

Functions take a cursor and values, never a request. Missing numbers (a direction the architecture does not have, a
language without tokens) are None, never NaN.
"""

from keyscope.app.queries.addresses import check_key, check_layer, check_model_key, neighbours, random_key
from keyscope.app.queries.examples import (
    Example,
    example_counts,
    first_examples,
    key_examples,
    key_samples,
    key_triggers,
    of_document,
)
from keyscope.app.queries.key_rows import KeyRow
from keyscope.app.queries.keys import (
    KeyNumbers,
    LanguageStatistics,
    TokenCount,
    TokenLogit,
    ValueTokens,
    fires_on,
    histograms,
    key_numbers,
    key_statistics,
    language_statistics,
    value_tokens,
)
from keyscope.app.queries.layers import (
    SORT_COLUMNS,
    LayerFilter,
    LayerMap,
    LayerSort,
    layer_map,
    layer_page,
    layers_firing_on,
)
from keyscope.app.queries.overview import LayerSummary, layer_summaries, specific_keys, strongest_keys
from keyscope.app.queries.percentiles import percentiles, quantile_above_zero
from keyscope.app.queries.tokens import Token, Vocabulary, parse_token
from keyscope.app.queries.values import Statistics
from keyscope.app.queries.windows import Window, Windows

__all__ = [
    "SORT_COLUMNS",
    "Example",
    "KeyNumbers",
    "KeyRow",
    "LanguageStatistics",
    "LayerFilter",
    "LayerMap",
    "LayerSort",
    "LayerSummary",
    "Statistics",
    "Token",
    "TokenCount",
    "TokenLogit",
    "ValueTokens",
    "Vocabulary",
    "Window",
    "Windows",
    "check_key",
    "check_layer",
    "check_model_key",
    "example_counts",
    "fires_on",
    "first_examples",
    "histograms",
    "key_examples",
    "key_numbers",
    "key_samples",
    "key_statistics",
    "key_triggers",
    "language_statistics",
    "layer_map",
    "layer_page",
    "layer_summaries",
    "layers_firing_on",
    "neighbours",
    "of_document",
    "parse_token",
    "percentiles",
    "quantile_above_zero",
    "random_key",
    "specific_keys",
    "strongest_keys",
    "value_tokens",
]
