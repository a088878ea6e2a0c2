"""One layer of a run: its keys measured and profiled, with bootstrap draws and controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keyscope.contract.analyses.syntax import ASPECTS
from keyscope.worker.analysis.alike import Alike, units
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.syntax.chance import Chance
from keyscope.worker.analysis.syntax.concentration import Groups, ngrams
from keyscope.worker.analysis.syntax.found import KeyMeasures, LayerFound, Summary, ValueCounts
from keyscope.worker.analysis.syntax.measures import MEASURES, Measured, Mutated, family, layer_means
from keyscope.worker.analysis.syntax.places import PlaceMap
from keyscope.worker.analysis.syntax.profiles import Profiles, profile
from keyscope.worker.analysis.syntax.triggers import Examples, firing_samples, strongest_triggers
from keyscope.worker.analysis.units import Units
from keyscope.worker.precompute.token_store import TokenStore

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Corpus:
    """The corpus with everything that does not depend on the layer."""

    store: TokenStore
    places: PlaceMap
    base: Mapping[str, FloatArray]
    """By aspect [languages, values], share of the language's tokens with each value."""
    alike: Sequence[Alike]
    """What keys could go by without syntax, one for each kind of unit."""
    chance: Chance
    units: Units
    times: FloatArray
    """[draws, files], how often each bootstrap draw has each file: as often as its unit."""
    controls: int
    """Number of draws of the controls."""
    vocabulary: int

    def languages(self, examples: Examples) -> IntArray:
        return self.store.languages[examples.file].astype(np.int64)


def read_layer(subject: Subject, corpus: Corpus, layer: int, mutated: Mutated, drawn_keys: IntArray) -> LayerFound:
    """Measure and profile the keys of one layer.

    Args:
        subject: the run.
        corpus: its corpus.
        layer: the layer.
        mutated: the layer's triggers that were run again with tokens dropped.
        drawn_keys: the keys over which draws and controls are taken, a sample if the layer is large.
    """
    keys = subject.model.layers[layer].n_keys
    triggers = strongest_triggers(subject, layer)
    samples = firing_samples(subject, layer)
    measured = _measured(corpus, keys, triggers, triggers.token, triggers.first, triggers.token, mutated)
    by_key = measured.by_key()
    return LayerFound(
        keys=_key_measures(measured, by_key, triggers, mutated),
        summary=_summary(corpus, measured, by_key, triggers, mutated, drawn_keys),
        file_triggers=np.bincount(triggers.file, minlength=corpus.store.n_files),
        profiles=_profiles(corpus, keys, triggers, samples),
        values=_values(corpus, triggers),
    )


def _measured(
    corpus: Corpus, keys: int, triggers: Examples, token: IntArray, first: IntArray, role_at: IntArray, mutated: Mutated
) -> Measured:
    """Measure keys as if their triggers were at `token`, with the roles of the tokens at `role_at`."""
    ids = corpus.store.token_ids
    one, two, three = (Groups(triggers.key, ngrams(ids, token, first, n, corpus.vocabulary), keys) for n in (1, 2, 3))
    families = Groups(triggers.key, family(_roles(corpus, role_at)), keys)
    return Measured(keys, triggers.file, (one, two, three), families, mutated)


def _roles(corpus: Corpus, token: IntArray) -> IntArray:
    """Roles of some tokens, as indices into ROLES."""
    return corpus.places.roles[corpus.places.of("role", token)]


def _key_measures(
    measured: Measured, by_key: Mapping[str, FloatArray], triggers: Examples, mutated: Mutated
) -> KeyMeasures:
    tokens, bigrams, trigrams = measured.ngrams
    counted = Groups(triggers.key, triggers.file, measured.keys)
    return KeyMeasures(
        score=by_key["score"],
        triggers=tokens.totals(tokens.masses()),
        files=np.bincount(counted.key, minlength=measured.keys),
        token_id=np.where(tokens.top_code() < 0, -1, tokens.top_code() - 1),
        token_share=by_key["token_share"],
        bigram_share=by_key["bigram_share"],
        trigram_share=by_key["trigram_share"],
        tokens_to_cover=tokens.to_cover(),
        bigrams_to_cover=bigrams.to_cover(),
        trigrams_to_cover=trigrams.to_cover(),
        token_entropy=tokens.entropy(tokens.masses()),
        mutated=np.bincount(mutated.key, minlength=measured.keys),
        drop_last=by_key["drop_last"],
        drop_first=by_key["drop_first"],
        drop_random=by_key["drop_random"],
    )


def _summary(
    corpus: Corpus,
    measured: Measured,
    by_key: Mapping[str, FloatArray],
    triggers: Examples,
    mutated: Mutated,
    drawn_keys: IntArray,
) -> Summary:
    values = np.stack([by_key[name] for name in MEASURES])
    there = ~np.isnan(values)
    quartiles = np.full((len(QUARTILES), len(MEASURES)), np.nan)
    for place, row in enumerate(values):
        if there[place].any():
            quartiles[:, place] = np.quantile(row[there[place]], QUARTILES)
    of_drawn = triggers.take(np.isin(triggers.key, drawn_keys))
    mutated_drawn = _take(mutated, np.isin(mutated.key, drawn_keys))
    drawn = _measured(corpus, measured.keys, of_drawn, of_drawn.token, of_drawn.first, of_drawn.token, mutated_drawn)
    return Summary(
        keys=there.sum(axis=1),
        mean=layer_means(by_key),
        quartiles=quartiles,
        draws=np.stack([layer_means(drawn.by_key(weights)) for weights in corpus.times]),
        control=np.stack(
            [_control(corpus, of_drawn, mutated_drawn, measured.keys, draw) for draw in range(corpus.controls)]
        ),
    )


def _control(corpus: Corpus, triggers: Examples, mutated: Mutated, keys: int, draw: int) -> FloatArray:
    """The measures by chance: random places, roles of other tokens, the effect of a random token for the last."""
    language = corpus.languages(triggers)
    token, first = corpus.chance.random_tokens(language, draw)
    others = corpus.chance.other_tokens(language, triggers.token, draw)
    by_chance = _measured(corpus, keys, triggers, token, first, others, mutated).without_last_effect()
    return layer_means(by_chance.by_key())


def _profiles(corpus: Corpus, keys: int, triggers: Examples, samples: Examples) -> dict[str, Profiles]:
    found = {}
    language = corpus.languages(triggers)
    go_by = units(corpus.store, triggers.token, triggers.first)
    once = [alike.once(triggers.key, language, unit) for alike, unit in zip(corpus.alike, go_by, strict=True)]
    for aspect in ASPECTS:
        of_samples = Groups(samples.key, corpus.places.of(aspect, samples.token), keys)
        value = corpus.places.of(aspect, triggers.token)
        shares = [(each, alike.shares[aspect]) for each, alike in zip(once, corpus.alike, strict=True)]
        found[aspect] = profile(keys, triggers.key, language, value, shares, of_samples, corpus.base[aspect])
    return found


def _values(corpus: Corpus, triggers: Examples) -> dict[str, ValueCounts]:
    """How often each value occurs among all triggers of the layer: by file, in the corpus, and by chance."""
    language = corpus.languages(triggers)
    mix = np.bincount(language, minlength=len(corpus.store.language_names)) / max(len(triggers), 1)
    others = [corpus.chance.other_tokens(language, triggers.token, draw) for draw in range(corpus.controls)]
    found = {}
    for aspect in ASPECTS:
        size = len(corpus.places.names[aspect])
        value = corpus.places.of(aspect, triggers.token)
        pairs, counts = np.unique(triggers.file * size + value, return_counts=True)
        by_chance = np.stack([np.bincount(corpus.places.of(aspect, each), minlength=size) for each in others])
        found[aspect] = ValueCounts(
            *np.divmod(pairs, size),
            counts=counts,
            expected=mix @ corpus.base[aspect],
            control=by_chance / max(len(triggers), 1),
        )
    return found


def _take(mutated: Mutated, chosen: npt.NDArray[np.bool_]) -> Mutated:
    return Mutated(**{name: array[chosen] for name, array in vars(mutated).items()})
