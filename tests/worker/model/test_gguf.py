"""Models in a single GGUF file, written here the way llama.cpp's converter does."""

import hashlib
import json
import shutil
from pathlib import Path

import gguf
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from keyscope.worker.locks import locked
from keyscope.worker.model.errors import ModelUnreadable
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource
from keyscope.worker.model.vocabulary import token_bytes
from tests.worker.models import CODE, CONTEXT, HEADS, KEYS, LAYERS, WIDTH, tiny_model, tiny_tokenizer


def write_gguf(file: Path, model: nn.Module) -> None:
    """A tiny Qwen2 and the tiny tokenizer in float32."""
    writer = gguf.GGUFWriter(file, "qwen2")
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(KEYS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    writer.add_rope_freq_base(model.config.rope_parameters["rope_theta"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    spelled = json.loads(tiny_tokenizer().backend_tokenizer.to_str())["model"]
    tokens = sorted(spelled["vocab"], key=spelled["vocab"].__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] + [gguf.TokenType.NORMAL] * (len(tokens) - 1))
    writer.add_token_merges([" ".join(pair) for pair in spelled["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, LAYERS)
    for name, tensor in model.state_dict().items():
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("gguf") / "tiny-qwen.gguf"
    write_gguf(file, tiny_model("qwen2", vocab_size=len(tiny_tokenizer())))
    return file


def test_a_gguf_file_gives_the_model_it_was_written_from(gguf_file: Path, tmp_path: Path) -> None:
    model = load_model(ModelSource(str(gguf_file), cache=tmp_path))
    original = tiny_model("qwen2", vocab_size=len(tiny_tokenizer()))
    ids = model.tokenizer(CODE[0], return_tensors="pt")["input_ids"]
    table = token_bytes(model.tokenizer)
    assert b"".join(table[token_id] for token_id in ids[0]) == CODE[0].encode()
    with torch.no_grad():
        assert torch.allclose(model.logits(ids), original(input_ids=ids).logits, atol=1e-4)
    assert (model.facts.model_id, model.facts.architecture, model.facts.gated) == ("tiny-qwen", "qwen2", True)
    assert model.facts.weights_sha256 == hashlib.sha256(gguf_file.read_bytes()).hexdigest()


def test_a_gguf_file_is_converted_once(gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_model(ModelSource(str(gguf_file), cache=tmp_path))
    real = AutoModelForCausalLM.from_pretrained

    def without_gguf(*arguments: object, **options: object) -> object:
        assert "gguf_file" not in options
        return real(*arguments, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", without_gguf)
    copy = shutil.copy(gguf_file, tmp_path / "tiny-qwen.gguf")
    second = load_model(ModelSource(str(copy), cache=tmp_path))
    assert second.facts == first.facts
    ids = first.tokenizer(CODE[1], return_tensors="pt")["input_ids"]
    assert torch.equal(first.logits(ids), second.logits(ids))


def test_a_gguf_file_cut_short_is_one_sentence(gguf_file: Path, tmp_path: Path) -> None:
    whole = gguf_file.read_bytes()
    for size in (3, 100, len(whole) // 2, len(whole) - 100):
        short = tmp_path / "short.gguf"
        short.write_bytes(whole[:size])
        with pytest.raises(ModelUnreadable, match=r"short\.gguf cannot be loaded"):
            load_model(ModelSource(str(short), cache=tmp_path / "cache"))
    assert not [path for path in (tmp_path / "cache" / "gguf").iterdir() if path.suffix != ".part"]


def test_conversions_that_died_are_removed_by_the_next_one(gguf_file: Path, tmp_path: Path) -> None:
    cache = tmp_path / "gguf"
    for name in ("old-1234.part-17", "dead-1234.part", "alive-1234.part", "model.part1-1234"):
        (cache / name).mkdir(parents=True)
    with locked(cache / "alive-1234"):
        load_model(ModelSource(str(gguf_file), cache=tmp_path))
        assert sorted(path.name for path in cache.iterdir() if path.is_dir() and "tiny" not in path.name) == [
            "alive-1234.part",
            "model.part1-1234",
        ]
