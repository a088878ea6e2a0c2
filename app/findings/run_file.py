"""Claims about triggers and weights, on the run file itself; their intervals are over keys, as if these were a sample."""

from math import nan

from keyscope.app.analyses.claim import Claim, Cursor, Measured, Rate, Z, judged
from keyscope.app.queries.values import rows
from keyscope.contract.manifest import Manifest

_COUNTS = "SELECT count(*), count(*) FILTER (NOT dead), count(*) FILTER (NOT dead AND variance > 0) FROM keys"
_HARVEST = """
    SELECT quantile_cont((maximum - mean) / sqrt(variance), [{}]) FROM keys WHERE NOT dead AND variance > 0"""
_FILES = """
    SELECT avg(files / triggers), stddev_samp(files / triggers) / sqrt(count(*)) FROM (
        SELECT count(DISTINCT file_id) AS files, count(*) AS triggers
        FROM triggers JOIN windows USING (window_id) WHERE polarity = 'max' AND layer % ? = 0 GROUP BY triggers.layer, "index")"""
_COSINES = """
    SELECT layer, avg(cos_key_value), stddev_samp(cos_key_value) / sqrt(count(*)), count(*)
    FROM keys GROUP BY layer ORDER BY layer"""
_SAMPLED_LAYERS = 8
"""The distinct files are counted in about so many layers, for the rest would cost a scan of all triggers."""


def harvest(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """How far the strongest trigger of a key stands out, and from how many files triggers come."""
    total, alive, varying = rows(cursor, _COUNTS)[0]
    if not varying:
        return None
    median, tenth = _quantile(cursor, 0.5, varying), _quantile(cursor, 0.1, varying)
    every = max(1, manifest.model.n_layers // _SAMPLED_LAYERS)
    distinct = _mean(*rows(cursor, _FILES, [every])[0])
    return Measured(
        f"{total:,} keys, {total - alive:,} of them dead; the strongest trigger lies {median.number()} standard deviations "
        f"over the mean for the median key, {tenth.number()} for the lowest tenth; {distinct.share()} of a key's triggers "
        "come from different files; intervals over keys",
        judged(
            total == manifest.n_keys and median.low >= 5 and distinct.low >= 0.5,
            total != manifest.n_keys or median.high < 2,
        ),
    )


def cosines(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """The mean cosine of key and value by layer."""
    found = rows(cursor, _COSINES)
    if len(found) < 3 or any(row[1] is None or row[2] is None for row in found):
        return None
    layers = [(layer, _mean(mean, error), n) for layer, mean, error, n in found]
    lower, upper = layers[: 2 * len(layers) // 3], layers[2 * len(layers) // 3 :]
    highest, lowest = max(lower, key=lambda each: each[1].estimate), min(upper, key=lambda each: each[1].estimate)
    text, above = (f"{mean.change(3)} in layer {layer}, n = {n:,} keys" for layer, mean, n in (highest, lowest))
    return Measured(
        f"mean cosine of key and value: highest of the lower two thirds {text}; lowest above {above}",
        judged(highest[1].low > 0 > lowest[1].high, highest[1].high < 0 or lowest[1].above(highest[1])),
    )


def _quantile(cursor: Cursor, share: float, n: int) -> Rate:
    """A quantile over keys, its interval from the keys that lie as far to either side as counts of them vary."""
    margin = Z * (share * (1 - share) / n) ** 0.5
    wanted = ", ".join(str(min(max(each, 0.0), 1.0)) for each in (share, share - margin, share + margin))
    return Rate.of(rows(cursor, _HARVEST.format(wanted))[0][0])


def _mean(mean: float, error: float | None) -> Rate:
    margin = nan if error is None else Z * error
    return Rate(mean, mean - margin, mean + margin)


CLAIMS = (
    Claim(
        1,
        "Every key has triggers that stand out",
        "All keys of all layers have trigger examples far above their usual coefficients (Haider et al. 2024)",
        "Expected: all keys are there, the median key's strongest trigger lies 5 standard deviations or more over its "
        "mean, at least half of a key's triggers come from different files, each by its 95 % interval over keys. Contrary: "
        "keys are missing, or it lies under 2.",
        None,
        "run_page",
        harvest,
    ),
    Claim(
        20,
        "Early keys write what they read, late ones erase it",
        "The cosine of key and value is above 0 in early and middle layers and below 0 in late ones (Gerstner and "
        "Schütze 2025)",
        "Expected: a mean above 0 in a layer of the lower two thirds and below 0 in one above, each by its 95 % "
        "interval over keys. Contrary: below 0 everywhere in the lower two thirds, or higher above.",
        None,
        "run_page",
        cosines,
    ),
)
