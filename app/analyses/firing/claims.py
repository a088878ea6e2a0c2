"""Claims about when keys fire and what their weights do, tried on the analysis `firing`."""

from keyscope.app.analyses.claim import Cursor, Measured, among, claims_about, judged, number, percent
from keyscope.app.queries.estimate import Estimate
from keyscope.app.queries.values import rows
from keyscope.contract.analyses.firing import GROUPS
from keyscope.contract.keys import KeyId
from keyscope.contract.manifest import Manifest

_claim = claims_about("firing", "firing_page")
_GROUP = """
    SELECT estimate, low, high, n, files, projects FROM firing_groups
    WHERE measure = ? AND control = ? AND part = '' AND layers = ?"""
_BEST = """
    SELECT f.language, f.layer, f."index", f.stack, g.estimate, g.low, g.high, g.n, g.files, g.projects FROM firing_languages f
    JOIN firing_groups g ON g.measure = 'best_f1' AND g.control = '' AND g.part = f.language AND g.layers = 'all layers'
    WHERE f.f1 IS NOT NULL AND NOT isnan(f.f1)
    QUALIFY row_number() OVER (PARTITION BY f.language ORDER BY coalesce(f.fitted_f1, f.f1) DESC, f.layer, f."index") = 1 ORDER BY f.language"""
ALL, LOWER, UPPER, LOWEST, HIGHEST = GROUPS
LEVELS = {
    "": "firing at all",
    "_strong": "firing strongly",
    "_peak": "over half their largest coefficient",
}


def _group(cursor: Cursor, measure: str, layers: str = ALL, control: str = "") -> Estimate | None:
    found = rows(cursor, _GROUP, [measure, control, layers])
    return Estimate(*found[0]) if found else None


def _two(cursor: Cursor, measure: str, lower: str, upper: str) -> tuple[Estimate, Estimate] | None:
    """A measure in lower and in upper layers."""
    below, above = _group(cursor, measure, lower), _group(cursor, measure, upper)
    return (below, above) if below and above else None


@_claim(
    18,
    "Dead keys and token detectors are in low layers",
    "Only the first half of the network has dead keys and keys that detect single tokens (Voita et al. 2023, on ReLU; with "
    "GELU and SiLU far fewer are to be expected)",
    "Expected: more than twice as many detectors (over half their largest coefficient) in the lower half of layers, and "
    "no more dead keys in the upper half. Contrary: more of either in the upper half. Non-overlapping intervals in each "
    "case.",
)
def detectors(cursor: Cursor, manifest: Manifest) -> Measured | None:
    dead = _two(cursor, "dead", LOWER, UPPER)
    found = {words: _two(cursor, f"detectors{level}", LOWER, UPPER) for level, words in LEVELS.items()}
    peak = found[LEVELS["_peak"]]
    if dead is None or peak is None:
        return None
    text = "; ".join(
        f"token detectors {words}: {percent(each[0], 2)} of the keys in the lower half, {percent(each[1], 2)} in the upper"
        for words, each in found.items()
        if each
    )
    more_dead = dead[1].above(dead[0])
    return Measured(
        f"dead: {percent(dead[0], 3)} of the keys in the lower half, {percent(dead[1], 3)} in the upper; {text}; "
        f"n = {manifest.n_keys:,} keys",
        judged(
            peak[0].above(peak[1]) and peak[0].value > 2 * peak[1].value and not more_dead,
            peak[1].above(peak[0]) or more_dead,
        ),
    )


@_claim(
    18,
    "Token detectors suppress their tokens",
    "Over four fifths of token detectors suppress the tokens that trigger them (Voita et al. 2023)",
    "Expected: at least 80 % of at least 30 detectors, with the 95 % interval above half. Contrary: the whole interval "
    "below half. Fewer than 30 detectors are inconclusive.",
)
def suppression(cursor: Cursor, manifest: Manifest) -> Measured | None:
    detecting, every = _group(cursor, "suppressing_detectors"), _group(cursor, "suppressing")
    if detecting is None or every is None:
        return None
    enough = detecting.n >= 30
    return Measured(
        f"{percent(detecting)} of {detecting.n:,} token detectors lower the logits of their own tokens; of all {every.n:,} "
        f"keys that fire, {percent(every)}",
        judged(enough and detecting.above(0.5) and detecting.value >= 0.8, enough and detecting.below(0.5)),
    )


@_claim(
    18,
    "Some keys are positional",
    "There are keys with over 0.05 nats of mutual information on the position, most of them in small models with "
    "absolute positions (Voita et al. 2023)",
    "Expected: more than twice as many as with shifted positions, with non-overlapping intervals. Contrary: no more.",
)
def positions(cursor: Cursor, manifest: Manifest) -> Measured | None:
    share, control = _group(cursor, "positional"), _group(cursor, "positional", control="shifted")
    strong = _group(cursor, "positional_strong")
    if share is None or control is None or strong is None:
        return None
    return Measured(
        f"{percent(share, 2)} of keys have over 0.05 nats of information on the position by firing, {percent(strong, 2)} "
        f"by firing strongly; {percent(control, 2)} with shifted positions; n = {share.n:,} keys",
        judged(share.above(control) and share.value > 2 * control.value, share.value <= control.value),
    )


@_claim(
    19,
    "Single keys tell the language",
    "One key's mean over a file tells its language with an F1 of at least 0.85 (Gurnee et al. 2023)",
    "Expected: at least 0.85 for some language on held-out projects, the whole interval above file means dealt at random. "
    "Contrary: not above these.",
)
def languages(cursor: Cursor, manifest: Manifest) -> Measured | None:
    best, chance = rows(cursor, _BEST, []), _group(cursor, "best_f1", control="drawn")
    specific = _two(cursor, "language", LOWEST, HIGHEST)
    if not best or chance is None or specific is None:
        return None
    rates = {f"{row[0]} ({KeyId(*row[1:4])})": Estimate(*row[4:]) for row in best}
    highest = max(rates.values(), key=lambda rate: rate.value)
    return Measured(
        f"best F1 of a single key's mean over a file, on held-out projects: "
        f"{', '.join(f'{key} {number(rate)}' for key, rate in rates.items())}; with file means dealt at random, at most "
        f"{chance.value:.2f}; specific keys: {percent(specific[0])} in the lowest third of layers, {percent(specific[1])} "
        "in the highest",
        judged(highest.value >= 0.85 and highest.above(chance.value), highest.value <= chance.value),
    )


@_claim(
    20,
    "Prediction, suppression and entropy keys are in high layers",
    "Keys that promote or suppress few tokens, and long ones that affect none, are in the last layers (Gurnee et al. "
    "2024)",
    "Expected: with the final norm folded into E, for two of the three kinds a larger share in the last third of layers than in the first, with "
    "non-overlapping intervals, and more than twice that of random values. Contrary: for none, even with overlapping "
    "intervals.",
)
def weight_classes(cursor: Cursor, manifest: Manifest) -> Measured | None:
    shares, chance, n = {}, 0.0, 0
    for name in ("prediction", "suppression", "entropy"):
        ends = _two(cursor, f"folded_{name}", LOWEST, HIGHEST)
        random = _group(cursor, f"folded_{name}", HIGHEST, "gaussian")
        if ends is None or random is None:
            return None
        shares[name] = [among(end.value, end.n) for end in ends]
        chance, n = max(chance, random.value), ends[1].n
    text = "; ".join(
        f"{name} keys: {percent(low, 2)} in the lowest third of layers, {percent(high, 2)} in the highest"
        for name, (low, high) in shares.items()
    )
    more = [name for name, (low, high) in shares.items() if high.value > max(low.value, 2 * chance)]
    return Measured(
        f"{text}; of random values at most {100 * chance:.2f} %; n = {n:,} keys in a third, intervals over keys",
        judged(sum(shares[name][1].above(shares[name][0]) for name in more) >= 2, not more),
    )


CLAIMS = (detectors, suppression, positions, languages, weight_classes)
