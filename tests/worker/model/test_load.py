import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.errors import (
    DeviceUnavailable,
    ModelNotFound,
    ModelUnreadable,
    NoPlainFeedForward,
    QuantisedWeights,
    UnknownArchitecture,
)
from keyscope.worker.model.families import FAMILIES
from keyscope.worker.model.load import find_device, load_model
from keyscope.worker.model.source import ModelSource
from tests.worker.models import CONTEXT, KEYS, LAYERS, TINY, WIDTH, relu_model, save, save_tiny, tiny_tokenizer

LoadTiny = Callable[[str], CodeModel]
FolderOf = Callable[[str], Path]
GATED = {
    *("llama", "mistral", "qwen2", "qwen3", "phi3", "stablelm", "gemma", "gemma2", "gemma3_text", "olmo2"),
    *("granite", "granitemoeshared", "deepseek_v2", "deepseek_v3"),
}
PARALLEL = {"codegen", "gptj", "gpt_neox", "phi", "stablelm-parallel", "falcon", "falcon-new"}
FOUR_TIMES = {"bloom", "mpt"}
"""Families whose configuration cannot say how many keys a layer has."""


def test_every_family_has_a_tiny_model() -> None:
    assert {kind.split("-")[0] for kind in TINY} == set(FAMILIES)


@pytest.mark.parametrize("kind", TINY)
def test_every_family_loads_passes_its_check_and_states_its_facts(
    kind: str, load_tiny: LoadTiny, tiny_folder_of: FolderOf
) -> None:
    model, family = load_tiny(kind), kind.split("-")[0]
    facts = model.facts
    assert (facts.model_id, facts.revision, facts.architecture) == (kind, None, family)
    keys = 4 * WIDTH if family in FOUR_TIMES else KEYS
    assert (facts.n_layers, facts.keys_per_layer, facts.width) == (LAYERS, [keys] * LAYERS, WIDTH)
    assert (facts.gated, facts.parallel) == (family in GATED, kind in PARALLEL)
    assert (facts.vocabulary, facts.bos) == (len(tiny_tokenizer()), [])
    weights = tiny_folder_of(kind) / "model.safetensors"
    assert facts.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert model.context_length == (2_048 if family == "bloom" else CONTEXT)
    assert not model.model.training
    assert not any(parameter.requires_grad for parameter in model.model.parameters())


def test_an_unknown_architecture_is_refused_with_the_list_of_known_ones(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "gpt2")
    (folder / "config.json").write_text('{"model_type": "xglm"}', "utf-8")
    with pytest.raises(UnknownArchitecture) as refusal:
        load_model(ModelSource(str(folder)))
    assert "'xglm'" in refusal.value.detail
    for name in FAMILIES:
        assert name in refusal.value.detail


ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_group": 1, "topk_group": 1}


@pytest.mark.parametrize(
    ("kind", "config", "words"),
    [
        ("gpt2", {"model_type": "mixtral"}, "mixtral: its feed-forward layers are experts that a router chooses"),
        ("gpt2", {"model_type": "qwen2_moe"}, "qwen2_moe: .* router"),
        ("gpt2", {"model_type": "mamba"}, "mamba: it has no feed-forward layers"),
        ("deepseek_v2", ROUTED | {"first_k_dense_replace": 1}, "deepseek_v2: .* router"),
        ("deepseek_v3", ROUTED | {"first_k_dense_replace": 2}, "deepseek_v3: .* router"),
        ("granitemoeshared", {"shared_intermediate_size": 0}, "granitemoeshared: .* router"),
    ],
)
def test_models_without_plain_feed_forward_layers_are_refused_with_the_reason(
    tmp_path: Path, kind: str, config: dict[str, object], words: str
) -> None:
    changed = save_tiny(tmp_path, kind) / "config.json"
    changed.write_text(json.dumps(json.loads(changed.read_text("utf-8")) | config), "utf-8")
    with pytest.raises(NoPlainFeedForward, match=words):
        load_model(ModelSource(str(tmp_path)))


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq", "fp8"])
def test_quantised_weights_are_refused_by_the_name_of_their_method(tmp_path: Path, method: str) -> None:
    config = save_tiny(tmp_path, "llama") / "config.json"
    quantised = {"quantization_config": {"quant_method": method, "bits": 4}}
    config.write_text(json.dumps(json.loads(config.read_text("utf-8")) | quantised), "utf-8")
    with pytest.raises(QuantisedWeights, match=rf"quantised \({method}\)"):
        load_model(ModelSource(str(tmp_path)))


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_without_a_model_says_what_is_missing(tmp_path: Path, missing: str) -> None:
    folder = save_tiny(tmp_path, "gpt2")
    (folder / missing).unlink()
    with pytest.raises(ModelNotFound, match=r"config\.json|safetensors"):
        load_model(ModelSource(str(folder)))


def test_a_model_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "gpt2")
    for file in folder.glob("token*"):
        file.unlink()
    with pytest.raises(ModelUnreadable, match="tokenizer"):
        load_model(ModelSource(str(folder)))


def test_an_architecture_unknown_to_transformers_is_refused_the_same_way(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "gpt2")
    (folder / "config.json").write_text('{"model_type": "tomorrow"}', "utf-8")
    with pytest.raises(UnknownArchitecture, match="'tomorrow'"):
        load_model(ModelSource(str(folder)))


def test_a_truncated_weights_file_is_refused(tmp_path: Path) -> None:
    weights = save_tiny(tmp_path, "gpt2") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelUnreadable, match="cannot be loaded"):
        load_model(ModelSource(str(tmp_path)))


def test_a_model_is_never_completed_with_random_weights(tmp_path: Path) -> None:
    file = save_tiny(tmp_path, "gpt2") / "model.safetensors"
    tensors = load_file(file)
    del tensors["transformer.h.1.mlp.c_fc.weight"]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(ModelUnreadable, match=r"lacks 1 weights, .* transformer\.h\.1\.mlp\.c_fc\.weight"):
        load_model(ModelSource(str(tmp_path)))


def test_weights_whose_shapes_contradict_the_configuration_are_refused(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "gpt2")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"n_inner": 7}), "utf-8")
    with pytest.raises(ModelUnreadable, match="cannot be loaded"):
        load_model(ModelSource(str(folder)))


def test_a_missing_gguf_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"nowhere\.gguf"):
        load_model(ModelSource(str(tmp_path / "nowhere.gguf")))


def test_missing_devices_are_refused() -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "cuda:99", "mps", "meta"):
        with pytest.raises(DeviceUnavailable, match=name):
            find_device(name)


def test_an_unknown_number_type_is_refused(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "gpt2")
    with pytest.raises(DeviceUnavailable, match="'int8'"):
        load_model(ModelSource(str(folder), dtype="int8"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_number_types_pass_the_check(dtype: str, tmp_path: Path) -> None:
    model = load_model(ModelSource(str(save_tiny(tmp_path, "codegen")), dtype=dtype))
    assert model.dtype == getattr(torch, dtype)


def test_the_activation_of_the_configuration_is_stated(tmp_path: Path) -> None:
    model = load_model(ModelSource(str(save(tmp_path, relu_model(0, 0)))))
    assert model.facts.activation == "relu"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_layer": "8"}, r"n_layer '8', which must be a whole number from 1 to 10,000"),
        ({"n_layer": -1}, r"n_layer -1, which"),
        ({"n_layer": 10**7}, r"n_layer 10000000, which"),
        (
            {"n_layer": 5000, "n_inner": 10**6},
            r"describes over 160,000,000,000 weights, but its files have \d+,\d+ bytes",
        ),
        ({"n_head": True}, r"n_head True, which"),
        ({"attn_implementation": "somebody/kernel"}, r"cannot be loaded: .*"),
        ({"n_embd": 31}, r"cannot be loaded: .*"),
    ],
)
def test_a_configuration_that_is_wrong_is_one_sentence(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    config = save_tiny(tmp_path, "gpt2") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text("utf-8")) | changes), "utf-8")
    with pytest.raises(ModelUnreadable, match=words) as refused:
        load_model(ModelSource(str(tmp_path)))
    assert str(tmp_path) in refused.value.detail
    assert "\n" not in refused.value.detail


class _Harm:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("harmed"),)


@pytest.mark.parametrize("content", [pickle.dumps(_Harm()), b"", b"PK nothing"], ids=["code", "empty", "other"])
def test_a_pickle_that_is_no_model_is_one_sentence_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = save_tiny(tmp_path / "model", "gpt2")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content * 10_000)
    with pytest.raises(ModelUnreadable, match="cannot be loaded") as refused:
        load_model(ModelSource(str(folder)))
    assert "\n" not in refused.value.detail
    assert not Path("harmed").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_device_in_place_of_a_file_is_not_read(tmp_path: Path, name: str) -> None:
    file = save_tiny(tmp_path, "gpt2") / name
    file.unlink()
    file.symlink_to("/dev/zero")
    with pytest.raises(ModelUnreadable, match=rf"{name} is not a regular file"):
        load_model(ModelSource(str(tmp_path)))


def test_a_token_id_beyond_any_vocabulary_is_refused(tmp_path: Path) -> None:
    file = save_tiny(tmp_path, "gpt2") / "tokenizer.json"
    spelled = json.loads(file.read_text("utf-8"))
    spelled["model"]["vocab"]["far"] = 2**31 - 1
    file.write_text(json.dumps(spelled), "utf-8")
    with pytest.raises(ModelUnreadable, match=r"token id 2,147,483,647"):
        load_model(ModelSource(str(tmp_path)))


@pytest.mark.parametrize("note", ["{}", '{"model_id": "other", "sha256": "' + "0" * 64 + '"}'])
def test_the_identity_of_weights_is_that_of_their_files_whatever_lies_beside_them(tmp_path: Path, note: str) -> None:
    folder = save_tiny(tmp_path / "mine", "gpt2")
    (folder / "keyscope-origin.json").write_text(note, "utf-8")
    facts = load_model(ModelSource(str(folder))).facts
    assert facts.model_id == "mine"
    assert facts.weights_sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
