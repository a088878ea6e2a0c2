"""What is generated, held against plain transformers."""

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from keyscope.contract.keys import KeyId, Mask, Scale
from keyscope.contract.wire import BRANCHES, Span
from keyscope.worker.live.generation import Generator, Task, first_divergence
from keyscope.worker.live.sampling import uniform
from keyscope.worker.live.ticket import Cancelled
from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.errors import LogitsNotFinite, MaskNotApplied
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from tests.worker.conftest import WAYS
from tests.worker.live.chance import chi_square, limit
from tests.worker.live.driving import NANO, PROMPT, Generated, generate
from tests.worker.models import CODE, EOS, relu_model, save, save_tiny

MANY = tuple(Mask(KeyId(layer, index)) for layer in range(8) for index in range(0, 640, 8))


def plain_generate(model: Any, ids: list[int], new_tokens: int, known: int) -> tuple[list[int], list[float]]:
    """Greedy tokens and their log-probabilities by `transformers` alone."""
    rows = model.get_output_embeddings().weight.shape[0]
    output = model.generate(
        torch.tensor([ids]),
        max_new_tokens=new_tokens,
        do_sample=False,
        suppress_tokens=list(range(known, rows)) or None,
        output_logits=True,
        return_dict_in_generate=True,
        pad_token_id=0,
    )
    tokens = output.sequences[0, len(ids) :].tolist()
    logprobs = [logits[0].log_softmax(-1)[token].item() for logits, token in zip(output.logits, tokens, strict=True)]
    return tokens, logprobs


def assert_same(generated: Generated, branch: Any, tokens: list[int], logprobs: list[float]) -> None:
    assert generated.ids(branch) == tokens
    assert generated.logprobs(branch) == pytest.approx(logprobs, abs=1e-4)


def test_without_masks_both_branches_are_the_same(nano_generator: Generator) -> None:
    for temperature in (0.0, 0.8):
        generated = generate(nano_generator, temperature=temperature)
        assert generated.ids("baseline") == generated.ids("masked")
        assert generated.logprobs("baseline") == pytest.approx(generated.logprobs("masked"), abs=1e-5)
        assert generated.done.first_divergence is None
        assert (generated.done.applied.keys, generated.done.applied.positions) == (0, 0)


@pytest.mark.parametrize("prompt", [PROMPT, "public static void main(", "if err != nil {\n\t"])
def test_the_baseline_is_what_transformers_generates(nano: CodeModel, nano_generator: Generator, prompt: str) -> None:
    generated = generate(nano_generator, prompt, MANY)
    assert_same(generated, "baseline", *plain_generate(nano.model, generated.prompt_ids, 16, 4096))


def test_masked_keys_are_as_if_their_value_columns_were_zero(nano: CodeModel, nano_generator: Generator) -> None:
    edited = copy.deepcopy(nano.model)
    for mask in MANY:
        edited.transformer.h[mask.key.layer].mlp.fc_out.weight.data[:, mask.key.index] = 0
    generated = generate(nano_generator, masks=MANY)
    assert generated.done.first_divergence is not None
    assert_same(generated, "masked", *plain_generate(edited, generated.prompt_ids, 16, 4096))
    assert generated.done.applied.keys == len(MANY)
    assert generated.done.applied.positions == len(generated.prompt_ids) + 15


def test_a_control_is_a_third_branch_with_its_own_masks(nano_generator: Generator) -> None:
    others = [Mask(KeyId(mask.key.layer, mask.key.index + 1)) for mask in MANY]
    three = generate(nano_generator, masks=MANY[:60], control=others)
    assert three.ids("control") == generate(nano_generator, masks=others).ids("masked")
    assert three.ids("masked") == generate(nano_generator, masks=MANY[:60]).ids("masked")
    assert three.ids("control") != three.ids("baseline") != three.ids("masked")
    assert set(three.done.text) == {"baseline", "masked", "control"}
    assert three.done.applied.keys == 60


def test_masks_act_on_the_prompt_on_what_is_generated_or_on_a_span(nano_generator: Generator) -> None:
    whole = generate(nano_generator, masks=MANY)
    n = len(whole.prompt_ids)
    prompt = generate(nano_generator, masks=MANY, positions="prompt")
    generated = generate(nano_generator, masks=MANY, positions="generated")
    assert prompt.logprobs("masked")[0] == whole.logprobs("masked")[0]
    assert generated.logprobs("masked")[0] == whole.logprobs("baseline")[0]
    assert generated.logprobs("masked")[1:] != whole.logprobs("baseline")[1:]
    assert len({tuple(each.ids("masked")) for each in (whole, prompt, generated)}) == 3
    for same, as_span in ((prompt, Span(first=0, last=n - 1)), (generated, Span(first=n, last=10**6))):
        assert generate(nano_generator, masks=MANY, positions=as_span).logprobs("masked") == same.logprobs("masked")
    for each, positions in ((whole, n + 15), (prompt, n), (generated, 15)):
        assert each.done.applied.positions == positions
    nowhere = generate(nano_generator, masks=MANY, positions=Span(first=10**6, last=10**6))
    assert nowhere.logprobs("masked") == nowhere.logprobs("baseline")
    assert nowhere.done.applied.positions == 0


def test_a_factor_scales_the_value_column(nano: CodeModel, nano_generator: Generator) -> None:
    factors = {KeyId(2, 7): -3.0, KeyId(5, 100): 0.5, KeyId(7, 639): 20.0}
    edited = copy.deepcopy(nano.model)
    for key, factor in factors.items():
        edited.transformer.h[key.layer].mlp.fc_out.weight.data[:, key.index] *= factor
    generated = generate(nano_generator, masks=[Mask(key, Scale(factor)) for key, factor in factors.items()])
    assert_same(generated, "masked", *plain_generate(edited, generated.prompt_ids, 16, 4096))


@pytest.mark.parametrize("kind", WAYS)
def test_every_family_generates_as_transformers_does_with_and_without_masks(kind: str, tmp_path: Path) -> None:
    model = load_model(ModelSource(str(save_tiny(tmp_path, kind))))
    masks = [Mask(KeyId(layer, index)) for layer in range(3) for index in range(0, 48, 2)]
    generated = generate(Generator(model), CODE[0], masks, new_tokens=24)
    known = model.facts.vocabulary
    assert_same(generated, "baseline", *plain_generate(model.model, generated.prompt_ids, 24, known))
    for mask in masks:
        model.layers[mask.key.layer].values[mask.key.index] = 0
    assert_same(generated, "masked", *plain_generate(model.model, generated.prompt_ids, 24, known))
    assert generated.done.first_divergence is not None


def test_masking_a_key_that_never_fires_changes_nothing(tmp_path: Path) -> None:
    model = load_model(ModelSource(str(save(tmp_path, relu_model(silent_layer=1, silent_index=5)))))
    silent = generate(Generator(model), masks=[Mask(KeyId(1, 5))], temperature=1.0, new_tokens=40)
    assert silent.ids("masked") == silent.ids("baseline")
    assert silent.logprobs("masked") == pytest.approx(silent.logprobs("baseline"), abs=1e-5)
    assert silent.done.first_divergence is None
    assert silent.done.applied.keys == 1
    others = [Mask(KeyId(1, index)) for index in range(48) if index != 5]
    assert generate(Generator(model), masks=others, temperature=1.0, new_tokens=40).done.first_divergence is not None


def plain_logits(prompt_ids: list[int], ids: list[int]) -> Tensor:
    """Logits that led to each added token, from one forward of plain `transformers` over the whole text."""
    plain = AutoModelForCausalLM.from_pretrained(NANO, dtype=torch.float32)
    with torch.no_grad():
        logits: Tensor = plain(torch.tensor([prompt_ids + ids])).logits[0]
    return logits[len(prompt_ids) - 1 : -1]


def test_log_probability_i_belongs_to_token_i(nano_generator: Generator) -> None:
    generated = generate(nano_generator, masks=MANY, temperature=0.9, seed=7, top=5)
    ids = generated.ids("baseline")
    logprobs = plain_logits(generated.prompt_ids, ids).log_softmax(-1)
    for token, expected in zip(generated.tokens["baseline"], logprobs, strict=True):
        assert token.logprob == pytest.approx(expected[token.token_id].item(), abs=1e-4)
        best = expected.topk(5)
        assert [each.logprob for each in token.top] == pytest.approx(best.values.tolist(), abs=1e-4)
        assert [each.token_id for each in token.top] == best.indices.tolist()
    assert [token.index for token in generated.tokens["baseline"]] == list(range(len(ids)))


def test_each_step_takes_the_token_its_own_draw_falls_on(nano_generator: Generator) -> None:
    generated = generate(nano_generator, temperature=0.9, seed=7)
    logits = plain_logits(generated.prompt_ids, generated.ids("baseline")).double().numpy() / 0.9
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    cumulative = (probabilities / probabilities.sum(1, keepdims=True)).cumsum(1)
    expected = [int(np.searchsorted(row, uniform(7, step))) for step, row in enumerate(cumulative)]
    assert generated.ids("baseline") == generated.ids("masked") == expected


def test_the_tokenizers_bos_is_put_in_front_once(tmp_path: Path) -> None:
    generator = Generator(load_model(ModelSource(str(save_tiny(tmp_path, "llama", bos=True)))))
    plain, doubled = generate(generator, "def add("), generate(generator, EOS + "def add(")
    assert plain.prompt_ids[0] == 0
    assert plain.prompt_ids == doubled.prompt_ids
    assert plain.prompt_ids.count(0) == 1


def test_sampled_frequencies_follow_the_models_softmax(tiny: CodeModel) -> None:
    n, generator, counts = 400, Generator(tiny), Counter[int]()
    for seed in range(n):
        counts[generate(generator, "def ", new_tokens=1, temperature=0.5, seed=seed).ids("baseline")[0]] += 1
    with torch.no_grad():
        logits = tiny.logits(torch.tensor([generator.text.encode("def ")]))[0, -1, : tiny.facts.vocabulary]
    expected = torch.softmax(logits.double() / 0.5, 0) * n
    likely = [token for token in range(len(expected)) if expected[token] >= 5]
    assert len(likely) >= 5
    grouped = {place: counts[token] for place, token in enumerate(likely)} | {
        len(likely): n - sum(counts[token] for token in likely)
    }
    probable = [float(expected[token]) for token in likely]
    assert chi_square(grouped, [*probable, n - sum(probable)]) < limit(len(likely))


def test_one_seed_gives_one_text_and_another_seed_another(nano_generator: Generator) -> None:
    texts = [generate(nano_generator, temperature=1.0, seed=seed).done.text["baseline"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_rows_of_the_head_without_a_token_are_never_taken_nor_listed(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "codegen")
    model = load_model(ModelSource(str(folder)))
    known = model.facts.vocabulary
    model.model.get_output_embeddings().bias.data[known:] = 100.0
    for temperature in (0.0, 1.0):
        generated = generate(Generator(model), temperature=temperature, top=50)
        for token in generated.tokens["baseline"]:
            assert token.token_id < known
            assert all(each.token_id < known for each in token.top)
            assert token.logprob < -50  # of the whole head, in which the padding rows are the most probable


def test_a_branch_stops_at_the_end_of_text_and_the_other_goes_on(nano: CodeModel, tmp_path: Path) -> None:
    stopping = copy.copy(nano)
    plain = generate(Generator(nano), masks=MANY)
    assert plain.done.first_divergence is not None
    ids = plain.ids("masked")
    stop = next(token for token in ids if token not in plain.ids("baseline"))
    end = ids.index(stop)
    kept = nano.model.generation_config.eos_token_id
    nano.model.generation_config.eos_token_id = [kept, stop]
    try:
        generated = generate(Generator(stopping), masks=MANY)
    finally:
        nano.model.generation_config.eos_token_id = kept
    assert generated.ids("baseline") == plain.ids("baseline")
    assert generated.ids("masked") == ids[: end + 1]
    assert generated.done.text["masked"] == Generator(nano).text.join(ids[:end])
    assert generated.done.first_divergence == plain.done.first_divergence


def test_generation_ends_when_both_branches_have(nano: CodeModel) -> None:
    first = generate(Generator(nano)).ids("baseline")[0]
    kept = nano.model.generation_config.eos_token_id
    nano.model.generation_config.eos_token_id = first
    try:
        generated = generate(Generator(nano))
    finally:
        nano.model.generation_config.eos_token_id = kept
    assert generated.ids("baseline") == generated.ids("masked") == [first]
    assert generated.done.text == {"baseline": "", "masked": ""}


def test_text_is_decoded_from_the_bytes_of_all_tokens(tiny: CodeModel) -> None:
    """A random model writes bytes that are no UTF-8 alone; together they must read as one byte string does."""
    generated = generate(Generator(tiny), temperature=2.0, new_tokens=40)
    spelled = [bytes.fromhex(t.token_hex) if t.token_hex else t.token.encode() for t in generated.tokens["baseline"]]
    assert any(token.token_hex for token in generated.tokens["baseline"])
    assert generated.done.text["baseline"] == b"".join(spelled).decode(errors="replace")


def test_tokens_come_step_by_step_for_both_branches(nano: CodeModel, nano_generator: Generator) -> None:
    order: list[tuple[int, str]] = []
    task = Task(nano_generator.text.encode(PROMPT), MANY, 3, 0.0, 0, 0)
    nano_generator.run(task, lambda event: order.append((event.index, event.branch)))
    assert order == [(step, branch) for step in range(3) for branch in BRANCHES]


def test_an_exception_of_the_listener_ends_the_generation_at_once(nano: CodeModel, nano_generator: Generator) -> None:
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    def leave(_event: object) -> None:
        raise Cancelled

    hook = nano.layers[0].down.register_forward_hook(count)
    try:
        with pytest.raises(Cancelled):
            nano_generator.run(Task(nano_generator.text.encode(PROMPT), MANY, 50, 0.0, 0, 0), leave)
    finally:
        hook.remove()
    assert passes == 1


def test_masks_that_do_not_act_are_an_error(tiny_folder: Path) -> None:
    model = load_model(ModelSource(str(tiny_folder)))
    block = model.layers[1].block
    mlp = block.mlp

    def around_the_module(hidden: Tensor) -> Tensor:
        return torch.nn.functional.linear(mlp.act(mlp.fc_in(hidden)), mlp.fc_out.weight, mlp.fc_out.bias)

    mlp.forward = around_the_module
    for masks in ([Mask(KeyId(1, 0))], [Mask(KeyId(1, 0)), Mask(KeyId(2, 0))]):
        with pytest.raises(MaskNotApplied):
            generate(Generator(model), masks=masks)


def test_masks_that_act_on_some_steps_only_are_an_error(tiny_folder: Path) -> None:
    model = load_model(ModelSource(str(tiny_folder)))
    mlp = model.layers[1].block.mlp
    real = mlp.forward

    def after_the_prompt_around_the_module(hidden: Tensor) -> Tensor:
        if hidden.shape[1] > 1:
            return real(hidden)
        return torch.nn.functional.linear(mlp.act(mlp.fc_in(hidden)), mlp.fc_out.weight, mlp.fc_out.bias)

    mlp.forward = after_the_prompt_around_the_module
    with pytest.raises(MaskNotApplied, match=r"forward passes, the masked layers saw \{1: 1\}"):
        generate(Generator(model), masks=[Mask(KeyId(1, 0))])


def test_factors_that_leave_the_range_of_numbers_are_refused_before_any_token(nano_generator: Generator) -> None:
    seen: list[object] = []
    task = Task(nano_generator.text.encode(PROMPT), (Mask(KeyId(1, 1), Scale(1e38)),), 3, 0.0, 0, 0)
    with pytest.raises(LogitsNotFinite, match="masked logits"):
        nano_generator.run(task, seen.append)
    assert seen == []


@pytest.mark.parametrize(
    ("one", "other", "index"),
    [([1, 2], [1, 2], None), ([1, 2], [1, 3], 1), ([1], [1, 3], 1), ([], [5], 0), ([], [], None)],
)
def test_the_first_divergence_counts_a_difference_of_length(
    one: list[int], other: list[int], index: int | None
) -> None:
    assert first_divergence(one, other) == index
