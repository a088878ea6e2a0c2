"""Claims about layers, context and what decides the next token, on the analysis `agreement`."""

from collections.abc import Sequence

from keyscope.app.analyses.claim import Claim, Cursor, Measured, Rate, judged, rank_correlation
from keyscope.app.queries.values import rows
from keyscope.contract.analyses.agreement import SHARED_OUT
from keyscope.contract.manifest import Manifest

_LAYERS = """
    SELECT estimate, low, high, n FROM agreement
    WHERE measure = ? AND split = 'all' AND coalesce(control, '') = '' AND layer IS NOT NULL ORDER BY layer"""
_OVER_LAYERS = """
    SELECT measure, estimate, low, high, n FROM agreement
    WHERE starts_with(measure, 'split_') AND split = 'all' AND layer IS NULL"""
_DEPTHS = """
    SELECT part, estimate, low, high FROM agreement
    WHERE measure = 'depth' AND split = ? AND coalesce(control, '') = '' AND estimate IS NOT NULL"""
_CONTEXTS = """
    SELECT size, estimate, low, high, n FROM agreement_contexts
    WHERE measure = ? AND layer IS NULL AND estimate IS NOT NULL ORDER BY size"""
_KEYS = """
    SELECT estimate, low, high, n FROM agreement_keys
    WHERE measure = 'agreement' AND coalesce(control, '') = '' AND projection = 'normed' AND {} ORDER BY layer, tenth"""

FIXED = ("keyword", "operator", "punctuation")
"""Roles of tokens that the language defines."""
CHOSEN = ("identifier_defined", "identifier_used", "attribute", "call_target")
"""Roles of tokens that people choose."""


def _layers(cursor: Cursor, measure: str) -> tuple[list[Rate], int]:
    """The measure of every layer, and the tokens behind it."""
    found = rows(cursor, _LAYERS, [measure])
    return [Rate.of(row[:3]) for row in found], found[0][3] if found else 0


def residual(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """The agreement of the residual after each layer with the model's output."""
    layers, n = _layers(cursor, "residual")
    if not layers:
        return None
    values = [layer.estimate for layer in layers]
    whole, rising = values[-1] == 1, rank_correlation(values)
    return Measured(
        f"{layers[0].share()} after layer 0, {layers[len(layers) // 2].share()} after layer {len(layers) // 2}, "
        f"{layers[-2].share()} after layer {len(layers) - 2}, {100 * values[-1]:g} % after the last; "
        f"rank correlation with depth {rising:.2f}; {_tokens(n)}",
        judged(whole and rising >= 0.8 and layers[0].high < 0.25, not whole or rising <= 0),
    )


def feed_forward(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """The agreement of what a layer's feed-forward block adds, against the residual's."""
    alone, n = _layers(cursor, "ff")
    residuals, _ = _layers(cursor, "residual")
    if not alone:
        return None
    upper = range(len(alone) // 2, len(alone))
    best = max(range(len(alone)), key=lambda layer: alone[layer].estimate)
    below = all(residuals[layer].above(alone[layer]) for layer in upper)
    return Measured(
        f"highest in layer {best}: {alone[best].share()}, where the residual has {residuals[best].share()}; "
        f"{alone[0].share()} in layer 0; {_tokens(n)}",
        judged(below and best >= 2 * len(alone) / 3, any(alone[layer].above(residuals[layer]) for layer in upper)),
    )


def split(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """Who decides a layer's top token: the residual, the feed-forward block, both or neither."""
    found = {measure: (Rate.of(rate), n) for measure, *rate, n in rows(cursor, _OVER_LAYERS)}
    if not found:
        return None
    means = {measure.removeprefix("split_"): found[measure][0] for measure in SHARED_OUT}
    largest = max(means, key=lambda name: means[name].estimate)
    text = ", ".join(f"{name} {mean.share()}" for name, mean in means.items())
    return Measured(
        f"mean over layers: {text}; {_tokens(found[SHARED_OUT[0]][1])} in each layer",
        judged(means["residual"].estimate >= 0.5 and means["ffn"].estimate <= 0.1, largest != "residual"),
    )


def context(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """Prediction depth by the size of the context."""
    found = rows(cursor, _CONTEXTS, ["depth"])
    if len(found) < 2:
        return None
    first, last = Rate.of(found[0][1:4]), Rate.of(found[-1][1:4])
    return Measured(
        f"prediction depth {first.number()} with {found[0][0]} tokens of context, {last.number()} with {found[-1][0]}; "
        f"{_tokens(found[0][4])}, the same for every size",
        judged(last.above(first), first.above(last)),
    )


def full_context(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """How soon the prediction with a short context is that with the longest."""
    found = rows(cursor, _CONTEXTS, ["same_as_full"])
    if len(found) < 3:
        return None
    sizes = [f"{size}: {Rate.of(row).share()}" for size, *row in [each[:4] for each in found[:-1]]]
    rates = [Rate.of(each[1:4]) for each in found[:-1]]
    return Measured(
        f"the model's own token is that of the longest context for {'; '.join(sizes)}; {_tokens(found[0][4])}",
        judged(rates[-1].above(rates[0]), rates[0].above(rates[-1])),
    )


def roles(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """Prediction depth of tokens the language defines against those people choose."""
    depths = {part: Rate.of(rate) for part, *rate in rows(cursor, _DEPTHS, ["role"])}
    fixed, chosen = _named(depths, FIXED), _named(depths, CHOSEN)
    if not fixed or not chosen:
        return None
    text = "; ".join(f"{name.replace('_', ' ')} {rate.number()}" for name, rate in (fixed | chosen).items())
    pairs = [(late, early) for late in chosen.values() for early in fixed.values()]
    return Measured(
        f"prediction depth: {text}",
        judged(
            sum(late.above(early) for late, early in pairs) > len(pairs) / 2
            and not any(early.above(late) for late, early in pairs),
            sum(early.above(late) for late, early in pairs) > len(pairs) / 2,
        ),
    )


def continuations(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """Prediction depth of tokens that go on with a word against those that begin one."""
    depths = {part: Rate.of(rate) for part, *rate in rows(cursor, _DEPTHS, ["continuation"])}
    if {"goes_on", "begins"} - depths.keys():
        return None
    on, begins = depths["goes_on"], depths["begins"]
    return Measured(
        f"prediction depth {on.number()} where a word goes on, {begins.number()} elsewhere",
        judged(begins.above(on), on.above(begins)),
    )


def key_value(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """Key-value agreement by layer, and by how sure the value is."""
    layers = [Rate.of(row[:3]) for row in rows(cursor, _KEYS.format("layer IS NOT NULL"), [])]
    tenths = [Rate.of(row[:3]) for row in rows(cursor, _KEYS.format("tenth IS NOT NULL"), [])]
    if not layers or not tenths:
        return None
    lower, upper = layers[: round(0.6 * len(layers))], layers[round(0.6 * len(layers)) :]
    low, high = (max(layers_of, key=lambda each: each.estimate) for layers_of in (lower, upper))
    chance = 1 / manifest.model.vocabulary
    return Measured(
        f"at most {low.share(2)} in the lower 60 % of layers, up to {high.share(2)} above; {tenths[-1].share()} in the "
        f"tenth of keys with the surest values, {tenths[0].share()} in the least sure; chance {100 * chance:.3f} %",
        judged(
            low.estimate <= 0.01 and high.low > chance and tenths[-1].above(tenths[0]),
            low.above(high) or tenths[0].above(tenths[-1]),
        ),
    )


def composition(cursor: Cursor, manifest: Manifest) -> Measured | None:
    """How often no key alone says what the layer says."""
    zero, n = _layers(cursor, "zero_agreement")
    active, _ = _layers(cursor, "active")
    if not zero:
        return None
    least = min(zero, key=lambda rate: rate.estimate)
    fewest, most = (end(active, key=lambda rate: rate.estimate) for end in (min, max))
    return Measured(
        f"no firing key's value has the layer's top token in {least.share()} of tokens or more, in every layer; "
        f"{fewest.share()} of its keys fire at a token in the layer where fewest do, {most.share()} where most do; {_tokens(n)}",
        judged(least.low >= 0.68, least.high < 0.68),
    )


def _named(rates: dict[str, Rate], names: Sequence[str]) -> dict[str, Rate]:
    return {name: rates[name] for name in names if name in rates}


def _tokens(n: int) -> str:
    return f"n = {n:,} tokens"


_HERE = {"kind": "agreement", "page": "agreement_page"}
CLAIMS = (
    Claim(
        11,
        "Layers agree with the output more with depth",
        "Initial layers agree little with the final layer, later ones decide (Haider et al. 2024; Geva et al. 2021)",
        "Expected: all of it after the last layer, under a quarter after the first, rank correlation with depth of 0.8 "
        "or more. Contrary: no correlation, or a last layer that is not the output.",
        **_HERE,
        measure=residual,
    ),
    Claim(
        12,
        "The feed-forward block alone agrees little",
        "The feed-forward output alone seldom is the output; most in late layers (Geva et al. 2021)",
        "Expected: below the residual in every layer of the upper half, intervals apart, and highest in the last third. "
        "Contrary: above the residual in one of them.",
        **_HERE,
        measure=feed_forward,
    ),
    Claim(
        13,
        "The residual decides most often",
        "Of residual, feed-forward block, both or neither, the residual decides a layer's top token most often, the "
        "feed-forward block alone hardly ever (Geva et al. 2021)",
        "Expected: residual at least half, feed-forward block at most a tenth, on average over layers. Contrary: "
        "another share is the largest.",
        **_HERE,
        measure=split,
    ),
    Claim(
        14,
        "Larger contexts need later layers",
        "Small contexts are predicted in earlier layers, larger ones need later ones (Haider et al. 2024)",
        "Expected: the prediction depth with the longest context is above that with the shortest, intervals apart. "
        "Contrary: below it.",
        **_HERE,
        measure=context,
    ),
    Claim(
        14,
        "Predictions settle with context",
        "The longer the context, the more often the prediction is that of the whole context",
        "Expected: more often with the second longest context than with the shortest, intervals apart. Contrary: less.",
        **_HERE,
        measure=full_context,
    ),
    Claim(
        15,
        "What the language defines settles before what people name",
        "Keywords and operators are predicted in earlier layers than identifiers (Mekkes, on PolyCoder)",
        "Expected: most pairs of a role the language defines and one that people choose lie so, intervals apart, none "
        "the other way. Contrary: most lie the other way.",
        **_HERE,
        measure=roles,
    ),
    Claim(
        15,
        "The rest of a word settles early",
        "Tokens that go on with a word are predicted earlier than tokens that begin one",
        "Expected: a lower prediction depth, intervals apart. Contrary: a higher one.",
        **_HERE,
        measure=continuations,
    ),
    Claim(
        16,
        "Keys and values agree in upper layers",
        "The token after a key's strongest trigger is its value's top token almost never in lower layers, in a few per "
        "cent of upper ones, more where the value is sure (Geva et al. 2021)",
        "Expected: at most 1 % in the lower 60 % of layers, above chance in an upper one, more in the surest tenth of "
        "values than in the least sure, intervals apart. Contrary: the lower layers agree more, or the least sure, "
        "intervals apart.",
        **_HERE,
        measure=key_value,
    ),
    Claim(
        17,
        "Layers compose",
        "In at least two thirds of positions no single value says what its layer says (Geva et al. 2021)",
        "Expected: 68 % or more in every layer, the whole interval. Contrary: less in one, the whole interval.",
        **_HERE,
        measure=composition,
    ),
)
