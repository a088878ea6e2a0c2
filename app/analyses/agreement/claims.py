"""Claims about layers, context and what decides the next token, tried on the analysis `agreement`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from keyscope.app.analyses.claim import (
    Cursor,
    Measured,
    Verdict,
    claims_about,
    judged,
    number,
    percent,
    rank_correlation,
)
from keyscope.app.queries.estimate import Estimate
from keyscope.app.queries.values import rows
from keyscope.contract.analyses.agreement import SHARED_OUT
from keyscope.contract.manifest import Manifest

_claim = claims_about("agreement", "agreement_page")
_LAYERS = """
    SELECT estimate, low, high, n, files, projects FROM agreement
    WHERE measure = ? AND split = 'all' AND coalesce(control, '') = '' AND layer IS NOT NULL ORDER BY layer"""
_OVER_LAYERS = """
    SELECT measure, estimate, low, high, n, files, projects FROM agreement
    WHERE starts_with(measure, 'split_') AND split = 'all' AND layer IS NULL"""
_DEPTHS = """
    SELECT part, estimate, low, high, n, files, projects FROM agreement
    WHERE measure = 'depth' AND split = ? AND coalesce(control, '') = '' AND estimate IS NOT NULL"""
_CONTEXTS = """
    SELECT size, estimate, low, high, n, files, projects FROM agreement_contexts
    WHERE measure = ? AND layer IS NULL AND estimate IS NOT NULL ORDER BY size"""
_KEYS = """
    SELECT estimate, low, high, n, files, projects FROM agreement_keys
    WHERE measure = 'agreement' AND coalesce(control, '') = '' AND projection = 'normed' AND {} ORDER BY layer, tenth"""

FIXED = ("keyword", "operator", "punctuation")
"""Roles of tokens the language defines."""
CHOSEN = ("identifier_defined", "identifier_used", "attribute", "call_target")
"""Roles of tokens people choose."""


_LENS = """
    SELECT part, estimate, low, high, n, files, projects FROM agreement_lenses
    WHERE lens = 'ridge' AND control = '' AND measure = ? AND split = ? AND estimate IS NOT NULL
    ORDER BY layer, try_cast(part AS INTEGER)"""
_BOTH = "The verdict is that of both lenses; it is inconclusive if they differ."


def _layers(cursor: Cursor, measure: str) -> list[Estimate]:
    return [Estimate(*row) for row in rows(cursor, _LAYERS, [measure])]


def _ridge_layers(cursor: Cursor) -> list[Estimate]:
    """Agreement of each layer by the ridge lens, on projects that it was not fitted on; empty for older files."""
    return [Estimate(*rate) for _, *rate in rows(cursor, _LENS, ["agreement", "all"])]


def _ridge_depths(cursor: Cursor, split: str) -> dict[str, Estimate]:
    """Prediction depth of every part of a split by the ridge lens."""
    return {part: Estimate(*rate) for part, *rate in rows(cursor, _LENS, ["depth", split])}


def _by_both(logit: Measured, ridge: Measured | None) -> Measured:
    """What both lenses say of a claim."""
    if ridge is None:
        return replace(logit, text=f"{logit.text}; by the logit lens alone, for there is no ridge lens")
    verdict = logit.verdict if logit.verdict == ridge.verdict else Verdict.INCONCLUSIVE
    differ = "" if logit.verdict == ridge.verdict else f" ({logit.verdict} by one lens, {ridge.verdict} by the other)"
    return Measured(f"logit lens: {logit.text}. Ridge lens: {ridge.text}{differ}", verdict)


@_claim(
    11,
    "Layers agree with the output more with depth",
    "Initial layers agree little with the final layer; later ones decide (Haider et al. 2024; Geva et al. 2021)",
    "Expected: full agreement after the last layer, under a quarter after the first, and a rank correlation with "
    f"depth of at least 0.8. Contrary: no correlation, or a last layer that is not the output. {_BOTH}",
)
def residual(cursor: Cursor, manifest: Manifest) -> Measured | None:
    layers, by_ridge = _layers(cursor, "residual"), _ridge_layers(cursor)
    return _by_both(_rising(layers), _rising(by_ridge) if by_ridge else None) if layers else None


def _rising(layers: Sequence[Estimate]) -> Measured:
    values = [layer.value for layer in layers]
    whole, rising = values[-1] == 1, rank_correlation(values)
    return Measured(
        f"{percent(layers[0])} after layer 0, {percent(layers[len(layers) // 2])} after layer {len(layers) // 2}, "
        f"{percent(layers[-2])} after layer {len(layers) - 2}, {100 * values[-1]:g} % after the last; "
        f"rank correlation with depth {rising:.2f}; {_tokens(layers)}",
        judged(whole and rising >= 0.8 and layers[0].below(0.25), not whole or rising <= 0),
    )


@_claim(
    12,
    "The feed-forward layer alone agrees little",
    "The feed-forward output alone rarely predicts the output, most often in late layers (Geva et al. 2021)",
    "Expected: below the residual in every layer of the upper half, with non-overlapping intervals, and highest in "
    f"the last third. Contrary: above the residual in one of them. {_BOTH}",
)
def feed_forward(cursor: Cursor, manifest: Manifest) -> Measured | None:
    alone, residuals, by_ridge = _layers(cursor, "ff"), _layers(cursor, "residual"), _ridge_layers(cursor)
    if not alone:
        return None
    return _by_both(_alone(alone, residuals), _alone(alone, by_ridge) if by_ridge else None)


def _alone(alone: Sequence[Estimate], residuals: Sequence[Estimate]) -> Measured:
    upper = range(len(alone) // 2, len(alone))
    best = max(range(len(alone)), key=lambda layer: alone[layer].value)
    below = all(residuals[layer].above(alone[layer]) for layer in upper)
    return Measured(
        f"highest in layer {best}: {percent(alone[best])}, where the residual has {percent(residuals[best])}; "
        f"{percent(alone[0])} in layer 0; {_tokens(alone)}",
        judged(below and best >= 2 * len(alone) / 3, any(alone[layer].above(residuals[layer]) for layer in upper)),
    )


@_claim(
    13,
    "The residual decides most often",
    "The residual decides a layer's top token most often, compared with the feed-forward layer, both or neither; the "
    "feed-forward layer alone hardly ever does (Geva et al. 2021)",
    "Expected: residual at least half, feed-forward layer at most a tenth, on average over layers. Contrary: "
    "another share is the largest.",
)
def split(cursor: Cursor, manifest: Manifest) -> Measured | None:
    found = {measure: Estimate(*rate) for measure, *rate in rows(cursor, _OVER_LAYERS)}
    if not found:
        return None
    means = {measure.removeprefix("split_"): found[measure] for measure in SHARED_OUT}
    largest = max(means, key=lambda name: means[name].value)
    text = ", ".join(f"{name} {percent(mean)}" for name, mean in means.items())
    return Measured(
        f"mean over layers: {text}; {_tokens([found[SHARED_OUT[0]]])} in each layer",
        judged(means["residual"].value >= 0.5 and means["ffn"].value <= 0.1, largest != "residual"),
    )


@_claim(
    14,
    "Larger contexts need later layers",
    "Small contexts settle in earlier layers; larger ones need later layers (Haider et al. 2024)",
    "Expected: the prediction depth with the longest context is above that with the shortest, with non-overlapping "
    f"intervals. Contrary: below it. {_BOTH}",
)
def context(cursor: Cursor, manifest: Manifest) -> Measured | None:
    found = {str(size): Estimate(*rate) for size, *rate in rows(cursor, _CONTEXTS, ["depth"])}
    by_ridge = _ridge_depths(cursor, "context")
    if len(found) < 2:
        return None
    return _by_both(_deeper(found), _deeper(by_ridge) if len(by_ridge) > 1 else None)


def _deeper(found: Mapping[str, Estimate]) -> Measured:
    (shortest, first), *_, (longest, last) = found.items()
    return Measured(
        f"prediction depth {number(first)} with {shortest} tokens of context, {number(last)} with {longest}; "
        f"{_tokens([first])}, the same for every size",
        judged(last.above(first), first.above(last)),
    )


@_claim(
    14,
    "Predictions settle with context",
    "The longer the context, the more often the prediction is that of the full context",
    "Expected: more often with the second longest context than with the shortest, with non-overlapping intervals. "
    "Contrary: less often.",
)
def full_context(cursor: Cursor, manifest: Manifest) -> Measured | None:
    found = rows(cursor, _CONTEXTS, ["same_as_full"])
    if len(found) < 3:
        return None
    rates = {size: Estimate(*rate) for size, *rate in found[:-1]}
    shortest, *_, longest = rates.values()
    sizes = "; ".join(f"{size}: {percent(rate)}" for size, rate in rates.items())
    return Measured(
        f"the model predicts the same token as with the longest context, by tokens of context: {sizes}; {_tokens([shortest])}",
        judged(longest.above(shortest), shortest.above(longest)),
    )


@_claim(
    15,
    "What the language defines settles before what people name",
    "Keywords and operators are predicted in earlier layers than identifiers (Mekkes, on PolyCoder)",
    "Expected: most pairs of a role the language defines and a role people choose are in this order, with "
    f"non-overlapping intervals, and none the other way. Contrary: most are the other way. {_BOTH}",
)
def roles(cursor: Cursor, manifest: Manifest) -> Measured | None:
    depths = {part: Estimate(*rate) for part, *rate in rows(cursor, _DEPTHS, ["role"])}
    by_logit, by_ridge = _roles(depths), _roles(_ridge_depths(cursor, "role"))
    return _by_both(by_logit, by_ridge) if by_logit else None


def _roles(depths: Mapping[str, Estimate]) -> Measured | None:
    fixed, chosen = _named(depths, FIXED), _named(depths, CHOSEN)
    if not fixed or not chosen:
        return None
    text = ", ".join(f"{name.replace('_', ' ')} {number(rate)}" for name, rate in (fixed | chosen).items())
    pairs = [(late, early) for late in chosen.values() for early in fixed.values()]
    as_claimed = sum(late.above(early) for late, early in pairs)
    contrary = sum(early.above(late) for late, early in pairs)
    return Measured(
        f"prediction depth: {text}",
        judged(as_claimed > len(pairs) / 2 and not contrary, contrary > len(pairs) / 2),
    )


@_claim(
    15,
    "The rest of a word settles early",
    "Tokens that continue a word are predicted earlier than tokens that begin one",
    f"Expected: a lower prediction depth, with non-overlapping intervals. Contrary: a higher one. {_BOTH}",
)
def continuations(cursor: Cursor, manifest: Manifest) -> Measured | None:
    depths = {part: Estimate(*rate) for part, *rate in rows(cursor, _DEPTHS, ["continuation"])}
    by_logit, by_ridge = _continued(depths), _continued(_ridge_depths(cursor, "continuation"))
    return _by_both(by_logit, by_ridge) if by_logit else None


def _continued(depths: Mapping[str, Estimate]) -> Measured | None:
    if {"goes_on", "begins"} - depths.keys():
        return None
    on, begins = depths["goes_on"], depths["begins"]
    return Measured(
        f"prediction depth {number(on)} inside a word, {number(begins)} elsewhere",
        judged(begins.above(on), on.above(begins)),
    )


@_claim(
    16,
    "Keys and values agree in upper layers",
    "The token after a key's strongest trigger is almost never its value's top token in lower layers, but is for a few "
    "per cent of keys in upper ones, and more often if the value is sure (Geva et al. 2021)",
    "Expected: at most 1 % in the lower 60 % of layers, above chance in an upper one, and more in the surest tenth of "
    "values than in the least sure, with non-overlapping intervals. Contrary: lower layers or the least sure values "
    "agree more, with non-overlapping intervals.",
)
def key_value(cursor: Cursor, manifest: Manifest) -> Measured | None:
    layers = [Estimate(*row) for row in rows(cursor, _KEYS.format("layer IS NOT NULL"), [])]
    tenths = [Estimate(*row) for row in rows(cursor, _KEYS.format("tenth IS NOT NULL"), [])]
    if not layers or not tenths:
        return None
    lower, upper = layers[: round(0.6 * len(layers))], layers[round(0.6 * len(layers)) :]
    low, high = (max(layers_of, key=lambda each: each.value) for layers_of in (lower, upper))
    chance = 1 / manifest.model.vocabulary
    return Measured(
        f"at most {percent(low, 2)} in the lower 60 % of layers, up to {percent(high, 2)} above; {percent(tenths[-1])} in "
        f"the tenth of keys with the surest values, {percent(tenths[0])} in the least sure; chance {100 * chance:.3f} %",
        judged(
            low.value <= 0.01 and high.above(chance) and tenths[-1].above(tenths[0]),
            low.above(high) or tenths[0].above(tenths[-1]),
        ),
    )


@_claim(
    17,
    "Layers compose",
    "In at least two thirds of positions no single value predicts what its layer predicts (Geva et al. 2021)",
    "Expected: at least 68 % in every layer, by the whole interval. Contrary: less in some layer, by the whole interval.",
)
def composition(cursor: Cursor, manifest: Manifest) -> Measured | None:
    zero, active = _layers(cursor, "zero_agreement"), _layers(cursor, "active")
    if not zero:
        return None
    least = min(zero, key=lambda rate: rate.value)
    fewest, most = (end(active, key=lambda rate: rate.value) for end in (min, max))
    return Measured(
        f"in every layer, no firing key's value has the layer's top token for at least {percent(least)} of tokens; from "
        f"{percent(fewest)} to {percent(most)} of a layer's keys fire at a token; {_tokens(zero)}",
        judged(least.at_least(0.68), least.below(0.68)),
    )


def _named(rates: Mapping[str, Estimate], names: Sequence[str]) -> dict[str, Estimate]:
    return {name: rates[name] for name in names if name in rates}


def _tokens(found: Sequence[Estimate]) -> str:
    return f"n = {found[0].n:,} tokens"


CLAIMS = (residual, feed_forward, split, context, full_context, roles, continuations, key_value, composition)
