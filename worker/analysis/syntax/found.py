"""What one layer gives: the records that its step keeps and from which the rows of all tables follow."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keyscope.contract.analyses.syntax import ASPECTS
from keyscope.worker.analysis.analysis import Arrays, read_record, record_arrays
from keyscope.worker.analysis.syntax.profiles import Profiles

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class KeyMeasures:
    """The columns KEY_MEASURES of a layer's keys, each [keys]."""

    score: FloatArray
    triggers: FloatArray
    files: IntArray
    token_id: IntArray
    """-1 for a key without triggers."""
    token_share: FloatArray
    bigram_share: FloatArray
    trigram_share: FloatArray
    tokens_to_cover: IntArray
    bigrams_to_cover: IntArray
    trigrams_to_cover: IntArray
    token_entropy: FloatArray
    mutated: IntArray
    drop_last: FloatArray
    drop_first: FloatArray
    drop_random: FloatArray


@dataclass(frozen=True)
class Summary:
    """The measures of the layer, in the order of MEASURES."""

    keys: IntArray
    """[measures], how many keys have each."""
    mean: FloatArray
    """[measures]"""
    quartiles: FloatArray
    """[3, measures]"""
    draws: FloatArray
    """[draws, measures], the means over the files of each draw."""
    control: FloatArray
    """[controls, measures], the means by chance."""


@dataclass(frozen=True)
class ValueCounts:
    """How often each value of one aspect occurs among all triggers of the layer."""

    of_file: IntArray
    of_value: IntArray
    counts: IntArray
    """[pairs], the triggers in a file with a value; only pairs that occur."""
    expected: FloatArray
    """[values], the share in the corpus, languages weighted as among the triggers."""
    control: FloatArray
    """[controls, values], the share by chance."""


@dataclass(frozen=True)
class LayerFound:
    """Everything found of one layer."""

    keys: KeyMeasures
    summary: Summary
    file_triggers: IntArray
    """[files of the corpus], triggers in each."""
    profiles: Mapping[str, Profiles]
    """By aspect."""
    values: Mapping[str, ValueCounts]
    """By aspect."""

    def arrays(self) -> Arrays:
        """The result of the layer's step: one array for each field of each record."""
        return {
            **record_arrays(self.keys, "key_"),
            **record_arrays(self.summary),
            "file_triggers": self.file_triggers,
            **{name: array for aspect in ASPECTS for name, array in self._of_aspect(aspect).items()},
        }

    @classmethod
    def of_arrays(cls, arrays: Arrays) -> "LayerFound":
        """The inverse of `arrays`."""
        return cls(
            keys=read_record(KeyMeasures, arrays, "key_"),
            summary=read_record(Summary, arrays),
            file_triggers=arrays["file_triggers"],
            profiles={aspect: read_record(Profiles, arrays, f"{aspect}_") for aspect in ASPECTS},
            values={aspect: read_record(ValueCounts, arrays, f"{aspect}_") for aspect in ASPECTS},
        )

    def _of_aspect(self, aspect: str) -> dict[str, npt.NDArray[np.generic]]:
        prefix = f"{aspect}_"
        return record_arrays(self.profiles[aspect], prefix) | record_arrays(self.values[aspect], prefix)
