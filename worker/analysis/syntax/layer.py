"""One layer of a run: its keys measured and profiled, with draws of files and of chance beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from keyscope.contract.analyses.syntax import ASPECTS
from keyscope.worker.analysis.analysis import Arrays
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.syntax.alike import Alike, units
from keyscope.worker.analysis.syntax.chance import Chance
from keyscope.worker.analysis.syntax.concentration import Groups, ngrams
from keyscope.worker.analysis.syntax.measures import MEASURES, Measured, Mutated, family, layer_means
from keyscope.worker.analysis.syntax.places import PlaceMap
from keyscope.worker.analysis.syntax.profiles import Profiles, profile
from keyscope.worker.analysis.syntax.triggers import Examples, firing_samples, strongest_triggers
from keyscope.worker.precompute.token_store import TokenStore

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Corpus:
    """What is known of the corpus before layers are looked at."""

    store: TokenStore
    places: PlaceMap
    base: Mapping[str, FloatArray]
    """By aspect [languages, values], share of the language's tokens."""
    alike: Sequence[Alike]
    """What keys may go by, kind by kind."""
    chance: Chance
    times: FloatArray
    """[draws, files], how often each file is drawn in each draw of the bootstrap."""
    controls: int
    """Draws of chance."""
    vocabulary: int

    def languages(self, examples: Examples) -> IntArray:
        """The language of each example."""
        return self.store.languages[examples.file].astype(np.int64)


def read_layer(subject: Subject, corpus: Corpus, layer: int, mutated: Mutated, drawn_keys: IntArray) -> Arrays:
    """Everything about one layer.

    Args:
        subject: the run.
        corpus: its corpus.
        layer: the layer.
        mutated: triggers of the layer that were read again.
        drawn_keys: keys that the draws are taken over.
    """
    keys = subject.model.layers[layer].n_keys
    triggers = strongest_triggers(subject, layer)
    samples = firing_samples(subject, layer)
    measured = _measured(corpus, keys, triggers, triggers.token, triggers.first, triggers.token, mutated)
    by_key = measured.by_key()
    return {
        **_key_columns(corpus, measured, by_key, triggers, mutated),
        **_summary(corpus, measured, by_key, triggers, mutated, drawn_keys),
        **_profiles(corpus, keys, triggers, samples),
        **_values(corpus, triggers),
    }


def _measured(
    corpus: Corpus, keys: int, triggers: Examples, token: IntArray, first: IntArray, role_at: IntArray, mutated: Mutated
) -> Measured:
    """Triggers of some keys measured as if they stood at `token`, with the roles of the tokens at `role_at`."""
    ids = corpus.store.token_ids
    one, two, three = (Groups(triggers.key, ngrams(ids, token, first, n, corpus.vocabulary), keys) for n in (1, 2, 3))
    families = Groups(triggers.key, family(_roles(corpus, role_at)), keys)
    return Measured(keys, triggers.file, (one, two, three), families, mutated)


def _roles(corpus: Corpus, token: IntArray) -> IntArray:
    """Places in ROLES of the roles of some tokens."""
    return corpus.places.roles[corpus.places.of("role", token)]


def _key_columns(
    corpus: Corpus, measured: Measured, by_key: Mapping[str, FloatArray], triggers: Examples, mutated: Mutated
) -> dict[str, npt.NDArray[np.generic]]:
    tokens, bigrams, trigrams = measured.ngrams
    counted = Groups(triggers.key, triggers.file, measured.keys)
    return {
        "key_score": by_key["score"],
        "key_triggers": tokens.totals(tokens.masses()),
        "key_files": np.bincount(counted.key, minlength=measured.keys),
        "key_token_id": np.where(tokens.top_code() < 0, -1, tokens.top_code() - 1),
        "key_token_share": by_key["token_share"],
        "key_bigram_share": by_key["bigram_share"],
        "key_trigram_share": by_key["trigram_share"],
        "key_tokens_to_cover": tokens.to_cover(),
        "key_bigrams_to_cover": bigrams.to_cover(),
        "key_trigrams_to_cover": trigrams.to_cover(),
        "key_token_entropy": tokens.entropy(tokens.masses()),
        "key_mutated": np.bincount(mutated.key, minlength=measured.keys),
        "key_drop_last": by_key["drop_last"],
        "key_drop_first": by_key["drop_first"],
        "key_drop_random": by_key["drop_random"],
    }


def _summary(
    corpus: Corpus,
    measured: Measured,
    by_key: Mapping[str, FloatArray],
    triggers: Examples,
    mutated: Mutated,
    drawn_keys: IntArray,
) -> dict[str, npt.NDArray[np.generic]]:
    values = np.stack([by_key[name] for name in MEASURES])
    there = ~np.isnan(values)
    quartiles = np.full((len(QUARTILES), len(MEASURES)), np.nan)
    for place, row in enumerate(values):
        if there[place].any():
            quartiles[:, place] = np.quantile(row[there[place]], QUARTILES)
    of_drawn = triggers.take(np.isin(triggers.key, drawn_keys))
    mutated_drawn = _take(mutated, np.isin(mutated.key, drawn_keys))
    drawn = _measured(corpus, measured.keys, of_drawn, of_drawn.token, of_drawn.first, of_drawn.token, mutated_drawn)
    return {
        "keys": there.sum(axis=1),
        "mean": layer_means(by_key),
        "quartiles": quartiles,
        "draws": np.stack([layer_means(drawn.by_key(weights)) for weights in corpus.times]),
        "control": np.stack(
            [_control(corpus, of_drawn, mutated_drawn, measured.keys, draw) for draw in range(corpus.controls)]
        ),
    }


def _control(corpus: Corpus, triggers: Examples, mutated: Mutated, keys: int, draw: int) -> FloatArray:
    """The measures by chance: random places for tokens, roles of other tokens, a random token's effect for the last's."""
    language = corpus.languages(triggers)
    token, first = corpus.chance.random_tokens(language, draw)
    others = corpus.chance.other_tokens(language, triggers.token, draw)
    by_chance = _measured(corpus, keys, triggers, token, first, others, mutated).without_last_effect()
    return layer_means(by_chance.by_key())


def _profiles(corpus: Corpus, keys: int, triggers: Examples, samples: Examples) -> dict[str, npt.NDArray[np.generic]]:
    found: dict[str, npt.NDArray[np.generic]] = {}
    language = corpus.languages(triggers)
    go_by = units(corpus.store, triggers.token, triggers.first)
    once = [alike.once(triggers.key, language, unit) for alike, unit in zip(corpus.alike, go_by, strict=True)]
    for aspect in ASPECTS:
        of_samples = Groups(samples.key, corpus.places.of(aspect, samples.token), keys)
        value = corpus.places.of(aspect, triggers.token)
        shares = [(each, alike.shares[aspect]) for each, alike in zip(once, corpus.alike, strict=True)]
        rows = profile(keys, triggers.key, language, value, shares, of_samples, corpus.base[aspect])
        found |= {f"{aspect}_{each.name}": getattr(rows, each.name) for each in fields(Profiles)}
    return found


def _values(corpus: Corpus, triggers: Examples) -> dict[str, npt.NDArray[np.generic]]:
    """How often each value is among all triggers of the layer: by file, in the corpus, and by chance."""
    language = corpus.languages(triggers)
    mix = np.bincount(language, minlength=len(corpus.store.language_names)) / max(len(triggers), 1)
    others = [corpus.chance.other_tokens(language, triggers.token, draw) for draw in range(corpus.controls)]
    found: dict[str, npt.NDArray[np.generic]] = {
        "file_triggers": np.bincount(triggers.file, minlength=corpus.store.n_files),
    }
    for aspect in ASPECTS:
        size = len(corpus.places.names[aspect])
        value = corpus.places.of(aspect, triggers.token)
        pairs, counts = np.unique(triggers.file * size + value, return_counts=True)
        found[f"{aspect}_of_file"], found[f"{aspect}_of_value"] = np.divmod(pairs, size)
        found[f"{aspect}_counts"] = counts
        found[f"{aspect}_expected"] = mix @ corpus.base[aspect]
        found[f"{aspect}_control"] = np.stack(
            [np.bincount(corpus.places.of(aspect, each), minlength=size) for each in others]
        ) / max(len(triggers), 1)
    return found


def _take(mutated: Mutated, chosen: npt.NDArray[np.bool_]) -> Mutated:
    return Mutated(**{name: array[chosen] for name, array in vars(mutated).items()})
