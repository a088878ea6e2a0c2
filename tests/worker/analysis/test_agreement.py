"""Layer agreement compared with plain transformers and numpy, and on a model planted to agree."""

import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import AutoModelForCausalLM

from keyscope.contract.analyses.agreement import CONTEXT_MEASURES, LAYER_MEASURES, SHARED_OUT, TOKEN_MEASURES
from keyscope.contract.runfile import open_run, read_manifest
from keyscope.worker.analysis.agreement.analysis import Agreement
from keyscope.worker.analysis.agreement.plan import AgreementSettings, chosen_targets, chosen_windows, context_sizes
from keyscope.worker.analysis.intervals import FEWEST_UNITS
from keyscope.worker.analysis.run import analyse
from keyscope.worker.analysis.subject import Subject, open_subject
from keyscope.worker.analysis.units import units_of
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.source import ModelSource
from keyscope.worker.progress import Silent
from keyscope.worker.syntax.role import ROLES
from keyscope.worker.syntax.roles import continues, token_roles
from tests.worker.models import save
from tests.worker.planted import plant_detector, plant_value, quiet_model, shuffled
from tests.worker.precompute.corpora import SETTINGS, run, write_corpus

ALL = AgreementSettings(tokens=0, targets=40)
WINDOW = SETTINGS.window


def analysed(subject: Subject, settings: AgreementSettings = ALL) -> duckdb.DuckDBPyConnection:
    analyse(subject, Agreement(settings))
    return open_run(subject.path)


def by_layer(
    run: duckdb.DuckDBPyConnection, measure: str, control: str = "", split: str = "all", part: str = "all"
) -> list[float]:
    query = (
        "SELECT estimate FROM agreement WHERE (measure, control, split, part) = (?, ?, ?, ?) "
        "AND (layer IS NOT NULL OR measure IN ('depth', 'saturated')) ORDER BY layer"
    )
    return [estimate for (estimate,) in run.execute(query, [measure, control, split, part]).fetchall()]


class Plain:
    """Recomputes everything by transformers with `output_hidden_states`, its own hooks and numpy."""

    def __init__(self, subject: Subject, folder: str) -> None:
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.vocabulary = subject.model.facts.vocabulary
        self.head = self.model.lm_head.weight.detach().numpy()[: self.vocabulary]
        self.gain = self.model.transformer.ln_f.weight.detach().numpy()
        self.norms = [np.linalg.norm(block.mlp.fc_out.weight.detach().numpy(), axis=0) for block in self.blocks]
        self.values = [self.by_value(block.mlp.fc_out.weight.detach().numpy().T) for block in self.blocks]
        store = subject.store
        self.tokens = np.concatenate([store.token_ids[store.tokens_of(file)] for file in range(store.n_files)])
        self.parts = []
        for file in range(store.n_files):
            ids = store.token_ids[store.tokens_of(file)].astype(np.int64)
            self.parts += [self.read(ids[start : start + WINDOW]) for start in range(0, len(ids), WINDOW)]

    @property
    def blocks(self) -> Any:
        return self.model.transformer.h

    def by_value(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """L(v) [n, vocabulary]"""
        centred = vectors - vectors.mean(axis=1, keepdims=True)
        projected: npt.NDArray[np.float32] = (centred * self.gain) @ self.head.T
        return projected

    def read(self, ids: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        coefficients: list[npt.NDArray[np.float32]] = []
        written: list[npt.NDArray[np.float32]] = []
        hooks = []
        for block in self.blocks:
            hooks.append(
                block.mlp.fc_out.register_forward_pre_hook(lambda _m, args: coefficients.append(args[0][0].numpy()))
            )
            hooks.append(block.mlp.register_forward_hook(lambda _m, _i, out: written.append(out[0].numpy())))
        with torch.no_grad():
            output = self.model(torch.tensor(ids[None]), output_hidden_states=True)
            before_norm = [state[0] for state in output.hidden_states[1:-1]]
            lenses = [self.model.lm_head(self.model.transformer.ln_f(state)).numpy() for state in before_norm]
            lenses.append(output.logits[0].numpy())
            without = [
                self.model.lm_head(self.model.transformer.ln_f(state - torch.from_numpy(added))).numpy()
                for state, added in zip(before_norm, written, strict=False)
            ]
        for hook in hooks:
            hook.remove()
        lenses = [each[:, : self.vocabulary] for each in lenses]
        final = lenses[-1].argmax(axis=1)
        strongest = [np.abs(c) * norms for c, norms in zip(coefficients, self.norms, strict=True)]
        keys = [each.argmax(axis=1) for each in strongest]
        says = [
            np.where(
                np.take_along_axis(c, key[:, None], 1)[:, 0] < 0,
                value.argmin(axis=1)[key],
                value.argmax(axis=1)[key],
            )
            for c, key, value in zip(coefficients, keys, self.values, strict=True)
        ]
        ff = np.stack([self.by_value(each).argmax(axis=1) for each in written])
        zero = [
            [not any(value.argmax(axis=1)[c[at] > 0] == top[at]) for at in range(len(ids))]
            for c, value, top in zip(coefficients, self.values, ff, strict=True)
        ]
        there = [np.take_along_axis(each, final[:, None], 1) for each in lenses]
        return {
            "final": final,
            "top": np.stack([each.argmax(axis=1) for each in lenses]),
            "before": np.stack([each[:, : self.vocabulary].argmax(axis=1) for each in without]),
            "ff": ff,
            "ff_raw": np.stack([(each @ self.head.T).argmax(axis=1) for each in written]),
            "value": np.stack(says),
            "zero": np.array(zero),
            "active": np.stack([(c > 0).mean(axis=1) for c in coefficients]),
            "probability": np.stack(
                [np.exp(at[:, 0] - np.log(np.exp(each).sum(axis=1))) for at, each in zip(there, lenses, strict=True)]
            ),
            "rank": np.stack([1 + (each > at).sum(axis=1) for at, each in zip(there, lenses, strict=True)]),
        }

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return np.concatenate([part[name] for part in self.parts], axis=-1)


@pytest.fixture(scope="module")
def shared(computed: tuple[Path, Path], model: CodeModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The analysis of the whole small corpus, and the same numbers by plain transformers."""
    path, folder = computed[1], tmp_path_factory.mktemp("agreement")
    shutil.copytree(path.parent, folder / "runs")
    with open_subject(folder / "runs" / path.name, model, (), Silent()) as subject:
        yield subject, analysed(subject), Plain(subject, str(computed[0]))


def test_agreement_equals_that_of_plain_transformers(shared: Any) -> None:
    _, found, plain = shared
    final, top = plain["final"], plain["top"]
    for measure, tops in {
        "residual": top,
        "ff": plain["ff"],
        "ff_raw": plain["ff_raw"],
        "value": plain["value"],
    }.items():
        assert by_layer(found, measure) == pytest.approx((tops == final).mean(axis=1).tolist(), abs=1e-9), measure
    assert by_layer(found, "residual")[-1] == 1.0
    assert 0 < by_layer(found, "residual")[0] < 0.9
    assert by_layer(found, "zero_agreement") == pytest.approx(plain["zero"].mean(axis=1).tolist(), abs=1e-9)
    assert by_layer(found, "active") == pytest.approx(plain["active"].mean(axis=1).tolist(), abs=1e-6)
    assert by_layer(found, "probability") == pytest.approx(plain["probability"].mean(axis=1).tolist(), abs=1e-5)
    assert by_layer(found, "rank") == pytest.approx(np.exp(np.log(plain["rank"]).mean(axis=1)).tolist(), abs=1e-6)
    assert by_layer(found, "top_ten") == pytest.approx((plain["rank"] <= 10).mean(axis=1).tolist(), abs=1e-9)


def test_the_four_way_split_equals_that_of_plain_transformers_and_covers_every_token(shared: Any) -> None:
    _, found, plain = shared
    parts = np.array([by_layer(found, f"split_{name}") for name in ("residual", "agreement", "ffn", "composition")])
    assert parts.sum(axis=0) == pytest.approx(1.0)
    top, before, ff = plain["top"][:-1], plain["before"], plain["ff"][:-1]
    expected = [
        (top == before) & (before != ff),
        (top == before) & (top == ff),
        (top == ff) & (top != before),
        (top != before) & (top != ff),
    ]
    assert parts[:, :-1] == pytest.approx(np.stack(expected).mean(axis=2), abs=1e-9)
    over_layers = "SELECT estimate FROM agreement WHERE measure = ? AND split = 'all' AND layer IS NULL"
    means = [found.execute(over_layers, [measure]).fetchall() for measure in SHARED_OUT]
    assert means == [[(pytest.approx(of_layers.mean()),)] for of_layers in parts]


def test_depth_and_events_follow_from_the_top_tokens(shared: Any) -> None:
    _, found, plain = shared
    top, final = plain["top"], plain["final"]
    layers, n = top.shape
    depths = []
    for column in top.T:
        depth = layers - 1
        while depth > 0 and column[depth - 1] == column[-1]:
            depth -= 1
        depths.append(depth)
    assert by_layer(found, "settled") == pytest.approx(np.bincount(depths, minlength=layers) / n, abs=1e-9)
    assert by_layer(found, "depth") == pytest.approx([np.mean(depths)])
    assert by_layer(found, "saturated") == pytest.approx([np.mean(np.array(depths) < layers - 1)])
    agrees = top == final
    assert by_layer(found, "gained")[1:] == pytest.approx((agrees[1:] & ~agrees[:-1]).mean(axis=1), abs=1e-9)
    assert by_layer(found, "lost") == pytest.approx((~agrees[1:] & agrees[:-1]).mean(axis=1), abs=1e-9)
    assert by_layer(found, "eliminated") == pytest.approx((top[1:] != top[:-1]).mean(axis=1), abs=1e-9)


def test_the_following_token_is_the_next_one_of_the_file_even_across_windows(shared: Any) -> None:
    subject, found, plain = shared
    ends = subject.store.offsets[1:] - 1
    following = np.append(plain.tokens[1:], -1)
    following[ends] = -1
    assert by_layer(found, "correct") == pytest.approx((plain["top"] == following).mean(axis=1), abs=1e-9)


def test_every_token_is_in_one_part_of_each_split(shared: Any) -> None:
    subject, found, plain = shared
    store = subject.store
    query = "SELECT split, part, n FROM agreement WHERE measure = 'depth'"
    counts = {(split, part): n for split, part, n in found.execute(query).fetchall()}
    for split in ("all", "language", "role", "continuation", "position"):
        assert sum(n for (name, _), n in counts.items() if name == split) == len(store.token_ids), split
    roles: Counter[str] = Counter(end_of_file=store.n_files)
    goes_on = 0
    for file in range(store.n_files):
        text, starts = store.text(file), store.starts[store.tokens_of(file)]
        language = store.language_names[store.languages[file]]
        roles.update(ROLES[code].value for code in token_roles(text, language, starts)[1:])
        goes_on += int(continues(text, starts)[1:].sum())
    assert {part: n for (split, part), n in counts.items() if split == "role"} == dict(roles)
    assert counts["continuation", "goes_on"] == goes_on
    windows = [min(WINDOW, int(length) - start) for length in store.lengths for start in range(0, length, WINDOW)]
    assert counts["position", "4-15"] == sum(max(0, min(length, 16) - 4) for length in windows)
    language = store.languages == list(store.language_names).index("go")
    of_go = np.repeat(language, store.lengths)
    agrees = plain["top"] == plain["final"]
    assert by_layer(found, "residual", split="language", part="go") == pytest.approx(agrees[:, of_go].mean(axis=1))


def test_the_control_compares_with_the_token_half_a_window_away(shared: Any) -> None:
    _, found, plain = shared
    expected = []
    for part in plain.parts:
        final = part["final"]
        other = np.roll(final, -(len(final) // 2)) if len(final) > 1 else np.array([-1])
        expected.append(part["top"] == other)
    assert by_layer(found, "residual", "other_position") == pytest.approx(np.concatenate(expected, axis=1).mean(axis=1))


def test_intervals_contain_their_estimates_and_counts_are_stated(shared: Any) -> None:
    subject, found, _ = shared
    rows = found.execute("SELECT measure, estimate, low, high, n, files, projects FROM agreement").fetchall()
    assert {row[0] for row in rows} == {*LAYER_MEASURES, *TOKEN_MEASURES}
    units = units_of(subject.store)
    for measure, estimate, low, high, n, files, projects in rows:
        assert projects is None if not units.are_projects.any() else 0 < projects <= len(units.parts)
        if (projects or files) < FEWEST_UNITS:
            assert (low, high) == (None, None), measure
        else:
            assert low - 1e-9 <= estimate <= high + 1e-9, measure
        assert 0 < n <= len(subject.store.token_ids)
        assert 0 < files <= subject.store.n_files


def test_contexts_equal_plain_forward_passes_over_the_truncated_text(shared: Any) -> None:
    subject, found, plain = shared
    sizes, targets = context_sizes(subject, 512), chosen_targets(subject, ALL)
    assert sizes == [2, 4, 8, 16, 32]
    assert len(targets) == 40
    tops = {size: [] for size in sizes}
    for file, place in zip(targets.files, targets.places, strict=True):
        ids = subject.store.token_ids[subject.store.tokens_of(int(file))].astype(np.int64)
        for size in sizes:
            tops[size].append(plain.read(ids[place + 1 - size : place + 1])["top"][:, -1])
    full = np.stack(tops[sizes[-1]], axis=1)[-1]
    for size in sizes:
        top = np.stack(tops[size], axis=1)
        query = "SELECT estimate FROM agreement_contexts WHERE size = ? AND measure = ? ORDER BY layer"
        of = {
            measure: [estimate for (estimate,) in found.execute(query, [size, measure]).fetchall()]
            for measure in CONTEXT_MEASURES
        }
        assert of["residual"] == pytest.approx((top == top[-1]).mean(axis=1).tolist())
        assert of["residual_full"] == pytest.approx((top == full).mean(axis=1).tolist())
        assert of["same_as_full"] == pytest.approx([(top[-1] == full).mean()])
        counts = np.bincount(plain.tokens, minlength=plain.vocabulary)
        assert of["log_frequency"] == pytest.approx([np.log((counts[top[-1]] + 1) / counts.sum()).mean()])
    assert of["same_as_full"] == [1.0]


def test_equal_settings_choose_equal_windows_spread_over_the_files(subject: Subject) -> None:
    windows = chosen_windows(subject, AgreementSettings(tokens=400))
    assert windows == chosen_windows(subject, AgreementSettings(tokens=400))
    assert windows != chosen_windows(subject, AgreementSettings(tokens=400, seed=1))
    total = sum(window.length for window in windows)
    assert 400 <= total < 400 + WINDOW
    assert len({window.file for window in windows}) == min(len(windows), subject.store.n_files)
    assert sum(window.length for window in chosen_windows(subject, ALL)) == len(subject.store.token_ids)


def test_an_interrupted_analysis_resumes_to_the_same_rows(
    subject: Subject, shared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_step = Agreement.run_step
    ran = []

    def stop(self: Agreement, *args: Any) -> Any:
        ran.append(args[1].name)
        if len(ran) == 5:
            raise KeyboardInterrupt
        return run_step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Agreement, "run_step", stop)
        with pytest.raises(KeyboardInterrupt):
            analyse(subject, Agreement(ALL))
    for table in ("agreement", "agreement_contexts", "agreement_keys", "agreement_lenses"):
        rows = analysed(subject).execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall()
        assert rows == shared[1].execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall()


PAIRS = 6


def followers(subject: Subject) -> list[tuple[int, int]]:
    """Tokens of the corpus with their most frequent successor, most frequent pairs first."""
    pairs: Counter[tuple[int, int]] = Counter()
    for file in range(subject.store.n_files):
        ids = subject.store.token_ids[subject.store.tokens_of(file)].tolist()
        pairs.update(pairwise(ids))
    found: dict[int, int] = {}
    for (first, second), _ in pairs.most_common():
        if first != second and first not in found and second not in found.values():
            found[first] = second
    return list(found.items())[:PAIRS]


@pytest.fixture(scope="module", params=["planted", "shuffled"])
def known(request: pytest.FixtureRequest, read_only: Subject, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of a model whose first keys each detect a token and write its successor; and of a shuffled copy."""
    folder = tmp_path_factory.mktemp(request.param)
    pairs = followers(read_only)
    model = quiet_model()
    for index, (first, second) in enumerate(pairs):
        plant_detector(model, 1, index, first)
        plant_value(model, 1, index, second)
    if request.param == "shuffled":
        shuffled(model)
    path = run(save(folder / "model", model), write_corpus(folder / "corpus"), folder / "runs")
    with open_subject(path, ModelSource(str(folder / "model"), device="cpu"), (), Silent()) as opened:
        found = analysed(opened, AgreementSettings(tokens=0, targets=0))
        agreement = Plain(opened, str(folder / "model"))
        yield request.param, found, agreement, pairs


def test_planted_values_decide_the_prediction_at_their_token_and_shuffled_ones_nowhere(known: Any) -> None:
    kind, _, plain, pairs = known
    at = np.isin(plain.tokens, [first for first, _ in pairs])
    second = np.array([dict(pairs).get(token, -1) for token in plain.tokens.tolist()])
    planted = ((plain["value"][1] == second) & (plain["final"] == second))[at].mean()
    if kind == "planted":
        assert planted > 0.95
    else:
        assert planted < 0.05


def test_values_of_planted_keys_agree_more_than_their_controls_and_shuffled_ones_do_not(known: Any) -> None:
    kind, found, _, _ = known
    value, elsewhere, permuted = (
        by_layer(found, "value", control)[1] for control in ("", "other_position", "permuted_values")
    )
    if kind == "planted":
        assert value > 0.2
        assert max(elsewhere, permuted) < value / 2
    else:
        assert value < 0.1


def test_the_token_after_a_planted_key_is_the_one_its_value_promotes(known: Any) -> None:
    kind, found, _, pairs = known
    query = (
        "SELECT estimate * n, n FROM agreement_keys WHERE measure = 'agreement' AND projection = 'normed' "
        "AND control = ? AND layer = 1"
    )
    ((agree, n),) = found.execute(query, [""]).fetchall()
    ((permuted, _),) = found.execute(query, ["permuted_values"]).fetchall()
    assert n > 20
    if kind == "planted":
        assert agree >= len(pairs) - 1
        assert permuted <= 2
    else:
        assert agree <= 2


def test_a_run_without_room_for_contexts_has_none(subject: Subject) -> None:
    found = analysed(subject, AgreementSettings(tokens=64, targets=0))
    assert found.execute("SELECT count(*) FROM agreement_contexts").fetchall() == [(0,)]
    assert read_manifest(found).run_id == subject.path.stem
