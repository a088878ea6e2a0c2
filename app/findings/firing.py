"""Claims about when keys fire and what their weights are for, on the analysis `firing`."""

from app.findings.finding import Claim, Cursor, Measured, judged
from app.queries.values import rows
from contract.manifest import Manifest

_LAYERS = """
    SELECT estimate, n FROM firing_layers
    WHERE measure = ? AND coalesce(control, '') = ? AND coalesce(part, '') = '' AND layer IS NOT NULL
    ORDER BY layer"""
_BEST = """
    SELECT layer, "index", language, f1 FROM firing_languages
    WHERE f1 IS NOT NULL AND NOT isnan(f1) QUALIFY row_number() OVER (PARTITION BY language ORDER BY f1 DESC) = 1
    ORDER BY language"""
LEVELS = ("", "_strong", "_peak")


def _layers(cursor: Cursor, measure: str, control: str = "") -> list[tuple[float, int]]:
    """The measure of every layer and of how many it is; what was not measured counts as nothing of 0."""
    return [
        (estimate or 0.0, n if estimate is not None else 0) for estimate, n in rows(cursor, _LAYERS, [measure, control])
    ]


def _mean(layers: list[tuple[float, int]]) -> float:
    """Over all that were counted, whatever their layer."""
    return sum(estimate * n for estimate, n in layers) / max(1, sum(n for _, n in layers))


def detectors(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """Dead keys and token detectors in either half of the layers."""
    dead = _layers(cursor, "dead")
    found = {level: _layers(cursor, f"detectors{level}") for level in LEVELS}
    if not dead or not all(found.values()):
        return None
    half = len(dead) // 2
    shares = {level: (_mean(layers[:half]), _mean(layers[half:])) for level, layers in found.items()}
    lower, upper = shares["_peak"]
    text = "; ".join(
        f"token detectors {words}: {100 * low:.2f} % of the keys of the lower half, {100 * high:.2f} % of the upper"
        for words, (low, high) in zip(
            ("firing at all", "firing strongly", "over half their largest coefficient"), shares.values(), strict=True
        )
    )
    return Measured(
        f"dead: {100 * _mean(dead[:half]):.2f} % of the keys of the lower half, {100 * _mean(dead[half:]):.2f} % of the upper; "
        f"{text}; n = {sum(n for _, n in dead):,} keys",
        judged(
            lower > 2 * upper and _mean(dead[:half]) >= _mean(dead[half:]),
            upper > lower or _mean(dead[half:]) > _mean(dead[:half]),
        ),
    )


def suppression(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """Whether token detectors write away from their own tokens."""
    detecting, all_keys = _layers(cursor, "suppressing_detectors"), _layers(cursor, "suppressing")
    if not detecting or not all_keys:
        return None
    n, share = sum(count for _, count in detecting), _mean(detecting)
    margin = 1.96 * (share * (1 - share) / max(n, 1)) ** 0.5
    return Measured(
        f"{100 * share:.0f} % of {n:,} token detectors lower the logits of their own tokens (±{100 * margin:.0f} points); of "
        f"all keys that fire {100 * _mean(all_keys):.0f} %",
        judged(n >= 30 and share - margin > 0.5 and share >= 0.8, n >= 30 and share + margin < 0.5),
    )


def positions(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """Keys that know the position, against shifted positions."""
    found, chance = _layers(cursor, "positional"), _layers(cursor, "positional", "shifted")
    if not found or not chance:
        return None
    strong = _layers(cursor, "positional_strong")
    share, control = _mean(found), _mean(chance)
    return Measured(
        f"{100 * share:.2f} % of keys have over 0.05 nats of information on the position by firing, {100 * _mean(strong):.2f} % "
        f"by firing strongly; {100 * control:.2f} % with shifted positions; n = {sum(n for _, n in found):,} keys",
        judged(share > 0 and share > 2 * control, share <= control),
    )


def languages(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """How well one key tells a language, and where keys specific to one are."""
    best, drawn = rows(cursor, _BEST, []), _layers(cursor, "best_f1", "drawn")
    specific = _layers(cursor, "language")
    if not best:
        return None
    text = ", ".join(f"{language} {f1:.2f} (L{layer}.K{index})" for layer, index, language, f1 in best)
    third = max(1, len(specific) // 3)
    where = ", ".join(
        f"{100 * _mean(part):.1f} % of the {words} third"
        for words, part in (("lowest", specific[:third]), ("highest", specific[-third:]))
    )
    chance = max((f1 for f1, _ in drawn), default=0.0)
    highest = max(f1 for *_, f1 in best)
    return Measured(
        f"best F1 of a single key's mean over a file, on held-out files: {text}; with file means drawn at random at most "
        f"{chance:.2f}; specific keys: {where} of layers",
        judged(highest >= 0.85 and highest > chance, highest <= chance),
    )


def weight_classes(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """Prediction, suppression and entropy keys in the last third of the layers, against random values."""
    shares, chance = {}, 0.0
    for name in ("prediction", "suppression", "entropy"):
        layers = _layers(cursor, name)
        if not layers:
            return None
        third = max(1, len(layers) // 3)
        shares[name] = _mean(layers[:third]), _mean(layers[-third:])
        chance = max(chance, _mean(_layers(cursor, name, "gaussian")))
    text = "; ".join(
        f"{name} keys: {100 * low:.2f} % of the lowest third of layers, {100 * high:.2f} % of the highest"
        for name, (low, high) in shares.items()
    )
    late = sum(high > low and high > 2 * chance for low, high in shares.values())
    return Measured(
        f"{text}; of random values {100 * chance:.2f} % at most",
        judged(late >= 2, late == 0),
    )


CLAIMS = (
    Claim(
        18,
        "Dead keys and token detectors lie low",
        "Only the first half of the network has dead keys and keys that detect single tokens (Voita et al. 2023, on ReLU; with "
        "GELU and SiLU far fewer are to be expected)",
        "Expected: more than twice as many detectors (over half their largest coefficient) in the lower half of layers, and "
        "no more dead keys in the upper. Contrary: more of either in the upper half.",
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
        "Expected: more than twice as many as with shifted positions. Contrary: no more.",
        "firing",
        "firing_page",
        positions,
    ),
    Claim(
        19,
        "Single keys tell the language",
        "One key's mean over a file tells its language with an F1 of 0.85 and more (Gurnee et al. 2023)",
        "Expected: 0.85 or more for a language on held-out files, above file means drawn at random. Contrary: not above these.",
        "firing",
        "firing_page",
        languages,
    ),
    Claim(
        20,
        "Prediction, suppression and entropy keys lie high",
        "Keys that promote or suppress few tokens, and long ones that touch none, lie in the last layers (Gurnee et al. 2024)",
        "Expected: for two of the three kinds a larger share in the last third of layers than in the first, and more than "
        "twice that of random values. Contrary: for none.",
        "firing",
        "firing_page",
        weight_classes,
    ),
)
