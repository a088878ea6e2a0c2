"""Claims about triggers and weights, tried on the run file itself; intervals treat the keys as if they were a sample."""

from keyscope.app.analyses.claim import Cursor, Measured, Z, change, claims_about, judged, number, percent
from keyscope.app.queries.estimate import Estimate
from keyscope.app.queries.values import rows
from keyscope.contract.manifest import Manifest

_claim = claims_about(None, "run_page")
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
"""About how many layers distinct files are counted in, because all layers would cost a scan of all triggers."""


@_claim(
    1,
    "Every key has triggers that stand out",
    "All keys of all layers have trigger examples far above their usual coefficients (Haider et al. 2024)",
    "Expected: all keys are there; the median key's strongest trigger is at least 5 standard deviations above its "
    "mean; at least half of a key's triggers come from different files; both by the 95 % interval over keys. "
    "Contrary: keys are missing, or the strongest trigger is less than 2 standard deviations above.",
)
def harvest(cursor: Cursor, manifest: Manifest) -> Measured | None:
    total, alive, varying = rows(cursor, _COUNTS)[0]
    if not varying:
        return None
    median, tenth = _quantile(cursor, 0.5, varying), _quantile(cursor, 0.1, varying)
    every = max(1, manifest.model.n_layers // _SAMPLED_LAYERS)
    distinct = _mean(*rows(cursor, _FILES, [every])[0])
    return Measured(
        f"the strongest trigger is {number(median)} standard deviations above the mean for the median key, {number(tenth)} for "
        f"the lowest tenth; {total:,} keys, {total - alive:,} of them dead; {percent(distinct)} of a key's triggers "
        "come from different files; intervals over keys",
        judged(
            total == manifest.n_keys and median.at_least(5) and distinct.at_least(0.5),
            total != manifest.n_keys or median.below(2),
        ),
    )


@_claim(
    20,
    "Early keys write what they read, late ones erase it",
    "The cosine of key and value is above 0 in early and middle layers and below 0 in late ones (Gerstner and "
    "Schütze 2025)",
    "Expected: a mean above 0 in some layer of the lower two thirds and below 0 in some layer above, each by its "
    "95 % interval over keys. Contrary: below 0 throughout the lower two thirds, or higher above.",
)
def cosines(cursor: Cursor, manifest: Manifest) -> Measured | None:
    found = rows(cursor, _COSINES)
    if len(found) < 3 or any(row[1] is None or row[2] is None for row in found):
        return None
    layers = [(layer, _mean(mean, error, n)) for layer, mean, error, n in found]
    lower, upper = layers[: 2 * len(layers) // 3], layers[2 * len(layers) // 3 :]
    highest, lowest = max(lower, key=lambda each: each[1].value), min(upper, key=lambda each: each[1].value)
    text, above = (f"{change(mean, 3)} in layer {layer}, n = {mean.n:,} keys" for layer, mean in (highest, lowest))
    return Measured(
        f"mean cosine of key and value: highest in the lower two thirds {text}; lowest above {above}",
        judged(
            highest[1].above(0) and lowest[1].below(0),
            highest[1].below(0) or lowest[1].above(highest[1]),
        ),
    )


def _quantile(cursor: Cursor, share: float, n: int) -> Estimate:
    """A quantile over keys; the ends of its interval are the quantiles at the ends of the interval of `share`."""
    margin = Z * (share * (1 - share) / n) ** 0.5
    wanted = ", ".join(str(min(max(each, 0.0), 1.0)) for each in (share, share - margin, share + margin))
    value, low, high = rows(cursor, _HARVEST.format(wanted))[0][0]
    return Estimate(value, low, high, n)


def _mean(mean: float, error: float | None, n: int = 0) -> Estimate:
    return Estimate(mean, n=n) if error is None else Estimate(mean, mean - Z * error, mean + Z * error, n)


CLAIMS = (harvest, cosines)
