"""The statistics of a key for pages: title, explanation, group and format."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from keyscope.app.queries import Statistics, Vocabulary
from keyscope.app.web import formats
from keyscope.contract.runfile import KEY_STATISTICS, MOMENTS, WEIGHT_STATISTICS
from keyscope.contract.tables import Column

_COLUMNS = {column.name: column for column in (*MOMENTS, *KEY_STATISTICS, *WEIGHT_STATISTICS)}
_SHARES = {
    "firing_rate",
    "sink_share",
    "distinct_tokens",
    "top_token_share",
    "kv_precision",
    "max_probability",
    "null_share",
    "folded_null_share",
}
_TITLES = {
    "n": "tokens counted",
    "mean_abs": "mean |c|",
    "top_token_id": "top token",
    "kv_agreement": "key\N{EN DASH}value agreement",
    "kv_precision": "key\N{EN DASH}value precision",
    "norm_key": "key norm",
    "norm_up": "up norm",
    "norm_value": "value norm",
    "cos_key_value": "cos(key, value)",
    "cos_up_value": "cos(up, value)",
    "cos_gate_up": "cos(gate, up)",
    "vocab_mean": "vocabulary mean, raw",
    "vocab_variance": "vocabulary variance, raw",
    "vocab_skewness": "vocabulary skewness, raw",
    "vocab_kurtosis": "vocabulary kurtosis, raw",
    "folded_variance": "vocabulary variance",
    "folded_skewness": "vocabulary skewness",
    "folded_kurtosis": "vocabulary kurtosis",
    "folded_null_share": "null-space share",
    "max_probability": "largest probability",
    "null_share": "null-space share, raw",
    "sink_share": "largest on sinks",
}


@dataclass(frozen=True)
class Statistic:
    """One column of the contract, with a readable title."""

    column: Column

    @property
    def name(self) -> str:
        """Name of the column, as addresses and exports have it."""
        return self.column.name

    @property
    def help(self) -> str:
        """What the number is."""
        return self.column.help

    @cached_property
    def title(self) -> str:
        """The name for people."""
        return _TITLES.get(self.name, self.name.replace("_", " "))

    @property
    def is_number(self) -> bool:
        """Is it to be aligned as a number?"""
        return self.column.type != "VARCHAR" and self.name != "top_token_id"

    def show(self, statistics: Statistics, vocabulary: Vocabulary) -> str:
        """The value in a key's statistics, written out; a dash where there is none."""
        value: Any = statistics.get(self.name)
        if value is None:
            return formats.NOTHING
        if self.name == "top_token_id":
            return formats.token(vocabulary[value])
        if self.name == "top_language":
            return formats.language(value)
        return self._format(value)

    @cached_property
    def _format(self) -> Callable[[Any], str]:
        if self.name in _SHARES:
            return formats.share
        if self.column.type == "BOOLEAN":
            return lambda value: "yes" if value else "no"
        return formats.count if self.column.type == "UBIGINT" else formats.number


@dataclass(frozen=True)
class Group:
    """A titled group of statistics."""

    name: str
    title: str
    statistics: tuple[Statistic, ...]


def _group(name: str, title: str, *columns: str) -> Group:
    return Group(name, title, tuple(Statistic(_COLUMNS[column]) for column in columns))


OVERVIEW = _group("overview", "Overview", "maximum", "firing_rate", "kurtosis", "contribution", "top_language")
"""Default columns of a table."""
GROUPS = (
    _group(
        "activity",
        "Activity",
        "firing_rate",
        "maximum",
        "minimum",
        "mean",
        "mean_abs",
        "variance",
        "skewness",
        "kurtosis",
        "contribution",
        "dead",
        "sink_share",
        "n",
    ),
    _group(
        "triggers",
        "Triggers and languages",
        "top_language",
        "language_entropy",
        "top_token_id",
        "top_token_share",
        "distinct_tokens",
        "kv_agreement",
        "kv_precision",
    ),
    _group(
        "weights",
        "Weights",
        "norm_key",
        "norm_up",
        "bias",
        "norm_value",
        "cos_key_value",
        "cos_up_value",
        "cos_gate_up",
    ),
    _group(
        "vocabulary",
        "Vocabulary",
        "folded_variance",
        "folded_skewness",
        "folded_kurtosis",
        "folded_null_share",
        "vocab_mean",
        "vocab_variance",
        "vocab_skewness",
        "vocab_kurtosis",
        "max_probability",
        "unigram_correlation",
        "null_share",
    ),
)
"""Every statistic of the contract, each in one group."""


def statistic(name: str) -> Statistic:
    """The statistic of that name."""
    return Statistic(_COLUMNS[name])
