"""Claims about triggers and weights, on the run file itself."""

from app.findings.finding import Claim, Cursor, Measured, judged
from app.queries.values import rows
from contract.manifest import Manifest

_HARVEST = """
    SELECT count(*), median((maximum - mean) / sqrt(nullif(variance, 0))), quantile_cont((maximum - mean) / sqrt(nullif(variance, 0)), 0.1)
    FROM keys WHERE NOT dead"""
_FILES = """
    SELECT avg(files / triggers) FROM (
        SELECT count(DISTINCT file_id) AS files, count(*) AS triggers
        FROM triggers JOIN windows USING (window_id) WHERE polarity = 'max' AND layer % ? = 0 GROUP BY triggers.layer, "index")"""
_COSINES = """
    SELECT layer, avg(cos_key_value), stddev_samp(cos_key_value) / sqrt(count(*)), count(*)
    FROM keys GROUP BY layer ORDER BY layer"""
_SAMPLED_LAYERS = 8
"""The distinct files are counted in about so many layers, for the rest would cost a scan of all triggers."""


def harvest(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """How far the strongest trigger of a key stands out, and from how many files triggers come."""
    n, median, tenth = rows(cursor, _HARVEST)[0]
    total = rows(cursor, "SELECT count(*) FROM keys")[0][0]
    every = max(1, manifest.model.n_layers // _SAMPLED_LAYERS)
    distinct = rows(cursor, _FILES, [every])[0][0]
    return Measured(
        f"{total:,} keys, {total - n:,} of them dead; the strongest trigger lies {median:.1f} standard deviations over "
        f"the mean for the median key ({tenth:.1f} for the lowest tenth); {100 * distinct:.0f} % of a key's triggers come "
        "from different files",
        judged(
            total == manifest.n_keys and median >= 5 and distinct >= 0.5,
            total != manifest.n_keys or median < 2,
        ),
    )


def cosines(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """The mean cosine of key and value by layer."""
    layers = rows(cursor, _COSINES)
    if len(layers) < 3 or any(row[1] is None or row[2] is None for row in layers):
        return None
    lower, upper = layers[: 2 * len(layers) // 3], layers[2 * len(layers) // 3 :]
    highest, lowest = max(lower, key=lambda row: row[1]), min(upper, key=lambda row: row[1])

    def show(row: tuple[int, float, float, int]) -> str:
        layer, mean, error, n = row
        return f"{mean:+.3f} (±{1.96 * error:.3f}, n = {n:,} keys) in layer {layer}"

    return Measured(
        f"mean cosine of key and value: highest of the lower two thirds {show(highest)}, lowest above {show(lowest)}",
        judged(
            highest[1] - 1.96 * highest[2] > 0 > lowest[1] + 1.96 * lowest[2],
            highest[1] + 1.96 * highest[2] < 0 or lowest[1] - 1.96 * lowest[2] > highest[1],
        ),
    )


CLAIMS = (
    Claim(
        1,
        "Every key has triggers that stand out",
        "All keys of all layers have trigger examples far above their usual coefficients (Haider et al. 2024)",
        "Expected: all keys are there, the median key's strongest trigger lies 5 standard deviations or more over its "
        "mean, at least half of a key's triggers come from different files. Contrary: keys are missing, or it lies "
        "under 2.",
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
