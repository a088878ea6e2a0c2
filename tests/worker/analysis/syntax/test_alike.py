"""The null model for syntax: plain counts, exact tails, and simulated keys that know no syntax."""

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest

from keyscope.contract.analyses.syntax import ASPECTS
from keyscope.worker.analysis.alike import FEWEST, Alike, alike_units, log_tail_of_sum, units
from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.syntax.places import PlaceMap, merge_places, read_places
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.precompute.windows import Cut
from tests.worker.analysis.syntax.conftest import SETTINGS, OpenPlanted

KINDS = ("token", "before", "position")
KEYS = 3000


@pytest.fixture(scope="module")
def corpus(open_planted: OpenPlanted) -> tuple[TokenStore, PlaceMap]:
    """Generated files in one language."""
    store = open_planted(None).store
    return store, merge_places([read_places(store, range(store.n_files))], store.language_names)


@pytest.fixture(scope="module")
def alike(corpus: tuple[TokenStore, PlaceMap]) -> tuple[Alike, ...]:
    return alike_units(corpus[0], corpus[1].aspects, Cut(SETTINGS.window))


def test_the_tail_equals_the_sum_over_all_outcomes() -> None:
    rates = {0: [0.1, 0.5, 0.9, 0.3], 2: [0.2], 3: [1.0, 0.0, 0.4]}
    for hits in range(5):
        key = np.repeat(list(rates), [len(each) for each in rates.values()])
        hit = np.concatenate([np.arange(len(each)) < hits for each in rates.values()])
        found = log_tail_of_sum(4, key, np.concatenate(list(rates.values())), hit)
        for number in range(4):
            of_key = rates.get(number, [])
            wanted = min(hits, len(of_key))
            expected = sum(
                np.prod([rate if each else 1 - rate for rate, each in zip(of_key, outcome, strict=True)])
                for outcome in product((True, False), repeat=len(of_key))
                if sum(outcome) >= wanted
            )
            assert np.exp(found[number]) == pytest.approx(expected), (number, hits)


def test_a_tail_below_the_smallest_float_stays_finite() -> None:
    tail = log_tail_of_sum(1, np.zeros(300, dtype=int), np.full(300, 1e-3), np.ones(300, dtype=bool))
    assert np.isfinite(tail[0])
    assert tail[0] < -600


def test_shares_of_classes_are_those_of_plain_counts(subject: Subject) -> None:
    store = subject.store
    places = merge_places([read_places(store, [file]) for file in range(store.n_files)], store.language_names)
    window = subject.manifest.settings.window
    for kind, found in zip(range(len(KINDS)), alike_units(store, places.aspects, Cut(window)), strict=True):
        shares: dict[int, list[npt.NDArray[np.float64]]] = {}
        known = 0
        for language in range(len(store.language_names)):
            there: dict[int, dict[int, list[int]]] = {}
            for file in np.flatnonzero(store.languages == language):
                for place in range(store.lengths[file]):
                    token = store.offsets[file] + place
                    unit = int(units(store, np.array([token]), np.array([token - place % window]))[kind, 0])
                    there.setdefault(unit, {}).setdefault(int(file), []).append(int(places.of("role", token)))
            for unit, files in there.items():
                share = [
                    np.bincount(roles, minlength=len(places.names["role"])) / len(roles) for roles in files.values()
                ]
                once = found.once(np.zeros(1, dtype=int), np.array([language]), np.array([unit]))
                shares.setdefault(int(once.classes[0]), []).append(np.mean(share, axis=0))
                known += 1
        assert known == len(found.codes)
        for number, of_units in shares.items():
            assert found.shares["role"][number] == pytest.approx(np.mean(of_units, axis=0)), KINDS[kind]


def test_classes_hold_enough_units_and_go_from_common_to_rare(
    corpus: tuple[TokenStore, PlaceMap], alike: tuple[Alike, ...]
) -> None:
    store, _ = corpus
    ids = [np.unique(store.token_ids[store.tokens_of(file)]) for file in range(store.n_files)]
    known, in_files = np.unique(np.concatenate(ids), return_counts=True)
    tokens = alike[0]
    assert (tokens.codes - 1 == known).all()
    assert np.bincount(tokens.classes).min() >= FEWEST
    assert tokens.classes.max() > 0
    for number in range(tokens.classes.max()):
        assert in_files[tokens.classes == number].min() > in_files[tokens.classes == number + 1].max()
    for found in alike:
        for aspect in ASPECTS:
            assert found.shares[aspect].sum(axis=1) == pytest.approx(1), aspect


def test_a_unit_counts_once_by_its_strongest_trigger(alike: tuple[Alike, ...]) -> None:
    tokens = alike[0]
    some = tokens.codes[:4] - 1
    key = np.array([0, 0, 0, 0, 2, 2])
    found = tokens.once(key, np.zeros(6, dtype=int), some[[3, 1, 3, 1, 3, 0]])
    assert found.trigger.tolist() == [1, 0, 5, 4]
    assert found.classes.tolist() == tokens.classes[[1, 3, 0, 3]].tolist()


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_keys_that_prefer_units_of_any_kind_rarely_have_a_small_p(
    corpus: tuple[TokenStore, PlaceMap], alike: tuple[Alike, ...], kind: int
) -> None:
    store, places = corpus
    chance = np.concatenate([tails(store, places, alike[kind], kind, seed) for seed in range(2)])
    assert len(chance) > 10_000
    assert np.mean(chance <= 0.05) > 0.005
    for level in (0.05, 0.01, 0.001, 0.0001):
        assert np.mean(chance <= level) <= 1.2 * level, level


def tails(store: TokenStore, places: PlaceMap, alike: Alike, kind: int, seed: int) -> npt.NDArray[np.float64]:
    """p-values of keys that fire by random preferences for units and places, one for every key and role."""
    random = np.random.default_rng(seed)
    token = np.arange(len(store.token_ids))
    file = np.repeat(np.arange(store.n_files), store.lengths)
    unit = units(store, token, token - (token - store.offsets[file]) % SETTINGS.window)[kind]
    likings = random.standard_t(4, (KEYS, unit.max() + 2)).astype(np.float32)
    noise = random.uniform(0, 1, (KEYS, 1)).astype(np.float32)
    liked = likings[:, unit + 1] + noise * random.standard_normal((KEYS, len(token))).astype(np.float32)
    best = np.stack(
        [liked[:, store.tokens_of(each)].argmax(axis=1) + store.offsets[each] for each in range(store.n_files)]
    )
    strongest = np.argsort(-np.take_along_axis(liked.T, best, axis=0), axis=0)[: SETTINGS.top_k]
    trigger = np.take_along_axis(best, strongest, axis=0).T.ravel()
    key = np.repeat(np.arange(KEYS), SETTINGS.top_k)
    once = alike.once(key, np.zeros(len(key), dtype=int), unit[trigger])
    role = places.of("role", trigger[once.trigger])
    of_role = [
        log_tail_of_sum(KEYS, key[once.trigger], alike.shares["role"][once.classes, each], role == each)
        for each in range(len(places.names["role"]))
    ]
    return np.exp(np.concatenate(of_role))
