"""Parts of the analysis compared with plain computations: groups, n-grams, tails, the score, dropped tokens."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from keyscope.worker.analysis.subject import Subject
from keyscope.worker.analysis.syntax.chance import Chance
from keyscope.worker.analysis.syntax.concentration import Groups, ngrams
from keyscope.worker.analysis.syntax.measures import score
from keyscope.worker.analysis.syntax.mutation import relative_changes
from keyscope.worker.analysis.syntax.profiles import log_tail
from keyscope.worker.analysis.syntax.triggers import mutated_triggers, strongest_triggers
from keyscope.worker.model.taps import read_coefficients
from keyscope.worker.precompute.windows import Cut

KEY = np.repeat([0, 2, 3], [10, 1, 40])
CODE = np.concatenate([[7] * 6 + [1] * 3 + [9], [5], np.arange(40)])


def test_groups_count_like_a_counter_under_weights_too() -> None:
    groups = Groups(KEY, CODE, 4)
    weights = np.random.default_rng(0).integers(0, 3, len(KEY)).astype(float)
    for given in (None, weights):
        masses = groups.masses(given)
        share, entropy = groups.top_share(masses), groups.entropy(masses)
        for key in range(4):
            counts = Counter()
            for code, weight in zip(
                CODE[key == KEY], np.ones(len(KEY)) if given is None else given[key == KEY], strict=False
            ):
                counts[code] += weight
            if not counts.total():
                assert np.isnan(share[key])
                assert np.isnan(entropy[key])
                continue
            shares = np.array(list(counts.values())) / counts.total()
            assert share[key] == pytest.approx(shares.max())
            assert entropy[key] == pytest.approx(stats.entropy(shares), abs=1e-12)


def test_the_fewest_codes_that_cover_are_the_commonest() -> None:
    groups = Groups(KEY, CODE, 4)
    assert groups.to_cover().tolist() == [3, 0, 1, 38]
    assert groups.to_cover(0.6).tolist() == [1, 0, 1, 24]
    assert groups.top_code().tolist() == [7, -1, 5, 0]


def test_ngrams_end_at_the_token_and_stop_at_the_windows_start() -> None:
    ids = np.array([4, 5, 4, 5, 4, 5, 4], dtype=np.int32)
    token, first = np.array([1, 3, 5, 6]), np.array([0, 0, 0, 6])
    one, two, three = (ngrams(ids, token, first, n, 10) for n in (1, 2, 3))
    assert one[0] == one[1] == one[2] != one[3]
    assert two[0] == two[1] == two[2]
    assert three[0] != three[1] == three[2]
    assert ngrams(ids, np.array([6, 4]), np.array([6, 0]), 2, 10).tolist()[0] == 5


def test_tails_equal_those_of_the_binomial() -> None:
    hits, trials, rate = (
        np.array([0.0, 1, 7, 50, 3]),
        np.array([5.0, 5, 50, 50, 3]),
        np.array([0.1, 0.1, 0.3, 0.02, 1.0]),
    )
    expected = stats.binom.logsf(hits - 1, trials, rate)
    assert log_tail(hits, trials, rate) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_score_falls_with_concentration_and_with_locality() -> None:
    best = [0.1, 0.05, 0.9, -0.1]
    top = score(*[np.array([value]) for value in best])[0]
    assert 0 < top < 1
    for place, worse in enumerate((0.2, 0.1, 0.8, -0.5)):
        values = [np.array([worse if number == place else value]) for number, value in enumerate(best)]
        assert score(*values)[0] < top
    one, zero = np.array([1.0]), np.array([0.0])
    assert score(one, one, zero, -one)[0] == 0
    assert score(zero, zero, one, zero)[0] == 1


def test_dropped_tokens_change_coefficients_as_in_plain_forward_passes(subject: Subject) -> None:
    triggers = mutated_triggers(subject, 2)
    advanced: list[float] = []
    changes = relative_changes(subject, triggers, 1, advanced.append)
    chosen = np.random.default_rng(0).permutation(len(triggers))[:40]
    for number in chosen:
        first, token = int(triggers.first[number]), int(triggers.token[number])
        ids = subject.store.token_ids[first : token + 1].astype(np.int64)
        layer, key = int(triggers.layer[number]), int(triggers.key[number])
        whole = _coefficient(subject, ids, layer, key)
        if len(ids) == 1:
            assert np.isnan(changes["last"][number])
            continue
        for name, rest in (("last", ids[:-1]), ("first", ids[1:])):
            expected = max(_coefficient(subject, rest, layer, key), 0) / whole - 1
            assert changes[name][number] == pytest.approx(expected, abs=2e-4)
        if not np.isnan(changes["random"][number]):
            each = [
                max(_coefficient(subject, np.delete(ids, at), layer, key), 0) / whole - 1
                for at in range(1, len(ids) - 1)
            ]
            assert min(abs(changes["random"][number] - change) for change in each) < 2e-4
    assert 0 < sum(advanced) <= len(subject.store.token_ids)


def test_the_strongest_triggers_are_those_of_all_languages_together(subject: Subject) -> None:
    found = strongest_triggers(subject, 1)
    query = """SELECT "index", list(coefficient ORDER BY coefficient DESC)[:5] FROM triggers
        WHERE layer = 1 AND polarity = 'max' AND coefficient > 0 GROUP BY "index" ORDER BY "index" """
    expected = subject.connection.execute(query).fetchall()
    assert np.unique(found.key).tolist() == [index for index, _ in expected]
    for index, coefficients in expected:
        chosen = found.take(found.key == index)
        assert len(chosen) == len(coefficients)
        got = [
            _coefficient(subject, subject.store.token_ids[first : token + 1].astype(np.int64), 1, index)
            for first, token in zip(chosen.first, chosen.token, strict=True)
        ]
        assert got == pytest.approx(coefficients, abs=1e-4)


def test_chance_keeps_languages_and_gives_equal_tokens_the_same_other(subject: Subject) -> None:
    store = subject.store
    chance = Chance(store, Cut(subject.manifest.settings.window), 0)
    token = np.arange(len(store.token_ids))
    language = store.languages[np.searchsorted(store.offsets, token, side="right") - 1].astype(np.int64)
    drawn, first = chance.random_tokens(language, 0)
    other = chance.other_tokens(language, token, 0)
    for found in (drawn, other):
        assert (store.languages[np.searchsorted(store.offsets, found, side="right") - 1] == language).all()
    assert ((drawn - first >= 0) & (drawn - first < subject.manifest.settings.window)).all()
    pairs = {(lang, a, b) for lang, a, b in zip(language, store.token_ids[token], store.token_ids[other], strict=True)}
    assert len(pairs) == len({pair[:2] for pair in pairs}) == len({(pair[0], pair[2]) for pair in pairs})
    assert (store.token_ids[other] != store.token_ids[token]).mean() > 0.5
    assert (chance.other_tokens(language, token, 1) != other).any()


@torch.inference_mode()
def _coefficient(subject: Subject, ids: np.ndarray, layer: int, key: int) -> float:
    found: dict[int, float] = {}
    with read_coefficients(
        subject.model, lambda at, c: found.__setitem__(at, float(c[0, -1, key]) if at == layer else 0)
    ):
        subject.model.run_body(torch.from_numpy(ids[None]))
    return found[layer]
