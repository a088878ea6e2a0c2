"""From the counts to the rows of all tables."""

import duckdb
import numpy as np

from keyscope.contract.analyses.firing import FIRING_BUCKETS
from keyscope.worker.analysis.firing import positions
from keyscope.worker.analysis.firing.corpus import Corpus, Counted
from keyscope.worker.analysis.firing.draws import Draws
from keyscope.worker.analysis.firing.key_rows import write_keys
from keyscope.worker.analysis.firing.keys import Keys
from keyscope.worker.analysis.firing.layer_rows import write_layers
from keyscope.worker.analysis.firing.settings import FiringSettings
from keyscope.worker.rows import insert


def write_rows(
    connection: duckdb.DuckDBPyConnection, corpus: Corpus, counted: Counted, drawn: Draws, settings: FiringSettings
) -> None:
    """Write all tables; `drawn` has the measures of layers in every draw."""
    keys = Keys(corpus, counted, settings)
    for layer, part in enumerate(keys.parts()):
        write_keys(connection, keys, layer, part)
    write_layers(connection, keys, drawn)
    _write_buckets(connection, corpus, counted, settings)


def _write_buckets(
    connection: duckdb.DuckDBPyConnection, corpus: Corpus, counted: Counted, settings: FiringSettings
) -> None:
    of_position = positions.bucket_of(corpus.subject.manifest.settings.window, settings.position_buckets)
    buckets = np.arange(of_position.max() + 1)
    insert(
        connection,
        FIRING_BUCKETS,
        {
            "bucket": buckets,
            "first": np.searchsorted(of_position, buckets),
            "last": np.searchsorted(of_position, buckets, side="right") - 1,
            "tokens": counted.in_bucket[: len(buckets)],
        },
    )
