"""Claims about when keys fire and what their weights are for, on the analysis `firing`."""

from keyscope.app.analyses.claim import Claim, Cursor, Measured, Rate, judged
from keyscope.app.queries.values import rows
from keyscope.contract.analyses.firing import GROUPS
from keyscope.contract.manifest import Manifest

_GROUP = """
    SELECT estimate, low, high, n FROM firing_groups
    WHERE measure = ? AND control = ? AND part = '' AND layers = ?"""
_BEST = """
    SELECT f.language, f.layer, f."index", g.estimate, g.low, g.high FROM firing_languages f
    JOIN firing_groups g ON g.measure = 'best_f1' AND g.control = '' AND g.part = f.language AND g.layers = 'all layers'
    WHERE f.f1 IS NOT NULL AND NOT isnan(f.f1)
    QUALIFY row_number() OVER (PARTITION BY f.language ORDER BY f.f1 DESC, f.layer, f."index") = 1 ORDER BY f.language"""
ALL, LOWER, UPPER, LOWEST, HIGHEST = GROUPS
LEVELS = {
    "": "firing at all",
    "_strong": "firing strongly",
    "_peak": "over half their largest coefficient",
}


def _group(cursor: Cursor, measure: str, layers: str = ALL, control: str = "") -> tuple[Rate, int] | None:
    """A measure of layers together, and what it was counted of."""
    found = rows(cursor, _GROUP, [measure, control, layers])
    return (Rate.of(found[0][:3]), found[0][3]) if found else None


def _two(cursor: Cursor, measure: str, lower: str, upper: str) -> tuple[Rate, Rate] | None:
    """A measure of layers below and of layers above."""
    below, above = _group(cursor, measure, lower), _group(cursor, measure, upper)
    return (below[0], above[0]) if below and above else None


def detectors(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """Dead keys and token detectors in either half of the layers."""
    dead = _two(cursor, "dead", LOWER, UPPER)
    found = {words: _two(cursor, f"detectors{level}", LOWER, UPPER) for level, words in LEVELS.items()}
    peak = found[LEVELS["_peak"]]
    if dead is None or peak is None:
        return None
    text = "; ".join(
        f"token detectors {words}: {each[0].share(2)} of the keys of the lower half, {each[1].share(2)} of the upper"
        for words, each in found.items()
        if each
    )
    more_dead = dead[1].above(dead[0])
    return Measured(
        f"dead: {dead[0].share(3)} of the keys of the lower half, {dead[1].share(3)} of the upper; {text}; n = {manifest.n_keys:,} keys",
        judged(
            peak[0].above(peak[1]) and peak[0].estimate > 2 * peak[1].estimate and not more_dead,
            peak[1].above(peak[0]) or more_dead,
        ),
    )


def suppression(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """Whether token detectors write away from their own tokens."""
    detecting, every = _group(cursor, "suppressing_detectors"), _group(cursor, "suppressing")
    if detecting is None or every is None:
        return None
    share, n = detecting
    return Measured(
        f"{share.share()} of {n:,} token detectors lower the logits of their own tokens; of all {every[1]:,} keys that fire "
        f"{every[0].share()}",
        judged(n >= 30 and share.low > 0.5 and share.estimate >= 0.8, n >= 30 and share.high < 0.5),
    )


def positions(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """Keys that know the position, against shifted positions."""
    found, chance = _group(cursor, "positional"), _group(cursor, "positional", control="shifted")
    strong = _group(cursor, "positional_strong")
    if found is None or chance is None or strong is None:
        return None
    share, control = found[0], chance[0]
    return Measured(
        f"{share.share(2)} of keys have over 0.05 nats of information on the position by firing, {strong[0].share(2)} "
        f"by firing strongly; {control.share(2)} with shifted positions; n = {found[1]:,} keys",
        judged(
            share.above(control) and share.estimate > 2 * control.estimate,
            share.estimate <= control.estimate,
        ),
    )


def languages(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """How well one key tells a language, and where keys specific to one are."""
    best, chance = rows(cursor, _BEST, []), _group(cursor, "best_f1", control="drawn")
    specific = _two(cursor, "language", LOWEST, HIGHEST)
    if not best or chance is None or specific is None:
        return None
    rates = [(f"{language} (L{layer}.K{index})", Rate.of(rate)) for language, layer, index, *rate in best]
    highest = max((rate for _, rate in rates), key=lambda rate: rate.estimate)
    drawn = chance[0].estimate
    return Measured(
        f"best F1 of a single key's mean over a file, on held-out files: "
        f"{', '.join(f'{key} {rate.number()}' for key, rate in rates)}; with file means drawn at random at most {drawn:.2f}; "
        f"specific keys: {specific[0].share()} of the lowest third, {specific[1].share()} of the highest third of layers",
        judged(highest.estimate >= 0.85 and highest.low > drawn, highest.estimate <= drawn),
    )


def weight_classes(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """Prediction, suppression and entropy keys in the last third of the layers, against random values."""
    shares, chance, n = {}, 0.0, 0
    for name in ("prediction", "suppression", "entropy"):
        lowest, highest, random = (
            _group(cursor, name, layers, control)
            for layers, control in ((LOWEST, ""), (HIGHEST, ""), (HIGHEST, "gaussian"))
        )
        if lowest is None or highest is None or random is None:
            return None
        shares[name] = [Rate.among(rate.estimate, keys) for rate, keys in (lowest, highest)]
        chance, n = max(chance, random[0].estimate), highest[1]
    text = "; ".join(
        f"{name} keys: {low.share(2)} of the lowest third of layers, {high.share(2)} of the highest"
        for name, (low, high) in shares.items()
    )
    more = [name for name, (low, high) in shares.items() if high.estimate > max(low.estimate, 2 * chance)]
    return Measured(
        f"{text}; of random values {100 * chance:.2f} % at most; n = {n:,} keys of a third, intervals over keys",
        judged(sum(shares[name][1].above(shares[name][0]) for name in more) >= 2, not more),
    )


CLAIMS = (
    Claim(
        18,
        "Dead keys and token detectors lie low",
        "Only the first half of the network has dead keys and keys that detect single tokens (Voita et al. 2023, on ReLU; with "
        "GELU and SiLU far fewer are to be expected)",
        "Expected: more than twice as many detectors (over half their largest coefficient) in the lower half of layers, and "
        "no more dead keys in the upper. Contrary: more of either in the upper half. Intervals apart in each.",
        "firing",
        "firing_page",
        detectors,
    ),
    Claim(
        18,
        "Token detectors suppress their tokens",
        "Over four fifths of token detectors write away from the tokens that trigger them (Voita et al. 2023)",
        "Expected: 80 % or more of at least 30 detectors, the 95 % interval over a half. Contrary: under a half, the whole "
        "interval. Fewer than 30 detectors are inconclusive.",
        "firing",
        "firing_page",
        suppression,
    ),
    Claim(
        18,
        "Some keys know the position",
        "Keys with over 0.05 nats of mutual information on the position exist, most in small models with absolute positions "
        "(Voita et al. 2023)",
        "Expected: more than twice as many as with shifted positions, intervals apart. Contrary: no more.",
        "firing",
        "firing_page",
        positions,
    ),
    Claim(
        19,
        "Single keys tell the language",
        "One key's mean over a file tells its language with an F1 of 0.85 and more (Gurnee et al. 2023)",
        "Expected: 0.85 or more for a language on held-out files, the whole interval above file means drawn at random. "
        "Contrary: not above these.",
        "firing",
        "firing_page",
        languages,
    ),
    Claim(
        20,
        "Prediction, suppression and entropy keys lie high",
        "Keys that promote or suppress few tokens, and long ones that touch none, lie in the last layers (Gurnee et al. 2024)",
        "Expected: for two of the three kinds a larger share in the last third of layers than in the first, intervals "
        "apart, and more than twice that of random values. Contrary: for none, overlapping intervals counted too.",
        "firing",
        "firing_page",
        weight_classes,
    ),
)
