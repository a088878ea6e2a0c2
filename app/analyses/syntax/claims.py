"""Claims about which layer stores what, tried on the analysis `syntax`."""

from keyscope.app.analyses.claim import Cursor, Measured, change, claims_about, judged, number
from keyscope.app.queries.estimate import Estimate
from keyscope.app.queries.values import rows
from keyscope.contract.manifest import Manifest

_claim = claims_about("syntax", "syntax_page")
_TREND = """
    SELECT keys, files, projects, difference, low, high, control_low, control_high FROM syntax_trends
    WHERE measure = ? AND difference IS NOT NULL AND low IS NOT NULL"""
_LAYERS = "SELECT mean, low, high, keys, files, projects FROM syntax_layers WHERE measure = ? AND mean IS NOT NULL AND low IS NOT NULL ORDER BY layer"


def _trend(cursor: Cursor, measure: str, sign: int, what: str) -> tuple[str, bool, bool] | None:
    """The change of a measure from the lower to the upper half of layers: in words, whether it is as claimed, and
    whether it is the contrary."""
    found = rows(cursor, _TREND, [measure])
    if not found:
        return None
    keys, files, projects, value, low, high, *chance = found[0]
    trend = Estimate(value, low, high, keys, files, projects)
    lower, upper = (0.0, 0.0) if None in chance else chance
    rises, falls = trend.above(max(0, upper)), trend.below(min(0, lower))
    text = f"{what} {change(trend, 3)}, by chance {lower:+.3f} to {upper:+.3f}; n = {keys:,} keys"
    return (text, rises, falls) if sign > 0 else (text, falls, rises)


@_claim(
    2,
    "Trigger tokens less concentrated with depth",
    "Lower layers hold keywords and n-grams, higher ones more abstract patterns (Haider et al. 2024; Geva et al. 2021); "
    "tested is how concentrated trigger tokens are, which says nothing about meaning",
    "Expected: in the upper half of layers a smaller share of triggers on one token, and a higher entropy, both "
    "beyond the control's range. Contrary: both the other way.",
)
def concentration(cursor: Cursor, manifest: Manifest) -> Measured | None:
    share = _trend(cursor, "token_share", -1, "share of a key's triggers on its commonest token")
    entropy = _trend(cursor, "entropy", 1, "relative entropy of its trigger tokens")
    if share is None or entropy is None:
        return None
    return Measured(
        f"upper minus lower half of layers: {share[0]}; {entropy[0]}",
        judged(share[1] and entropy[1], share[2] and entropy[2]),
    )


@_claim(
    3,
    "The last token counts most, less so with depth",
    "Without the trigger token a key of a low layer loses about two thirds of its coefficient, one of the top about "
    "a fifth; the first token or a random one counts little (Geva et al. 2021)",
    "Expected: the last token counts most in every layer, takes more than 40 % in layer 0, and less in the upper half "
    "of layers, beyond the control's range. Contrary: it does not count most, or counts more in the upper half.",
)
def locality(cursor: Cursor, manifest: Manifest) -> Measured | None:
    last, first, other = (
        [Estimate(*row) for row in rows(cursor, _LAYERS, [f"drop_{which}"])] for which in ("last", "first", "random")
    )
    trend = _trend(cursor, "drop_last", 1, "upper minus lower half")
    if not last or not first or not other or trend is None:
        return None
    strongest = all(one.value < min(two.value, three.value) for one, two, three in zip(last, first, other, strict=True))
    return Measured(
        f"relative change without the last token: {number(last[0])} in layer 0, {number(last[-1])} in the last layer "
        f"({trend[0]}); without the first {number(first[0])} and {number(first[-1])}; without a random one "
        f"{number(other[0])} and {number(other[-1])}",
        judged(strongest and last[0].below(-0.4) and trend[1], not strongest or trend[2]),
    )


@_claim(
    5,
    "Grammar low, names high",
    "Keys of keywords and operators are in low layers, keys of library and domain terms in higher ones",
    "Expected: fewer keys of grammar and more of names in the upper half of layers, both beyond the control's range. "
    "Contrary: both the other way.",
)
def families(cursor: Cursor, manifest: Manifest) -> Measured | None:
    grammar = _trend(cursor, "grammar", -1, "keys of keywords, operators and punctuation")
    names = _trend(cursor, "names", 1, "keys of names, calls, attributes and types")
    if grammar is None or names is None:
        return None
    return Measured(
        f"share of keys, upper minus lower half of layers: {grammar[0]}; {names[0]}",
        judged(grammar[1] and names[1], grammar[2] and names[2]),
    )


CLAIMS = (concentration, locality, families)
