"""Loading a model by name: its feed-forward layers are found by family and checked by experiment."""

import hashlib
import operator
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerFast

from keyscope.contract.manifest import ModelFacts
from keyscope.worker.model.check import PROMPT, TOLERANCE, check_model
from keyscope.worker.model.code_model import CodeModel, FeedForward, OtherStack
from keyscope.worker.model.errors import DeviceUnavailable, ModelCheckFailed, QuantisedWeights
from keyscope.worker.model.families import Family, check_known, family_of
from keyscope.worker.model.framing import framing_of
from keyscope.worker.model.sizes import MOST, check_sizes
from keyscope.worker.model.source import ModelSource
from keyscope.worker.model.vocabulary import prefix_ids, vocabulary_size
from keyscope.worker.model.weights import Weights, find_weights, read_model, readable

DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in TOLERANCE}


def load_model(source: ModelSource) -> CodeModel:
    """Load weights and tokenizer, find the feed-forward layers and check them.

    Raises:
        ModelNotFound: there is no such model.
        ModelUnreadable: its files are missing, truncated or inconsistent.
        UnknownArchitecture: the table of families does not have its architecture.
        NoPlainFeedForward: its layers have no keys that could be read and masked.
        QuantisedWeights: its weights are quantised.
        DeviceUnavailable: this machine does not have the device or dtype.
        ModelCheckFailed: the model does not behave as its family's entry says.
    """
    device = find_device(source.device)
    with readable(source.model_id):
        weights = find_weights(source.model_id, source.revision, source.cache)
        written, _ = PreTrainedConfig.get_config_dict(weights.folder)
        # transformers need not know the architecture
        check_known(str(written.get("model_type")))
        _check_unquantised(source.model_id, written)
        check_sizes(source.model_id, written, weights.n_bytes)
        config = AutoConfig.from_pretrained(weights.folder)
        family = family_of(config)
        tokenizer = _tokenizer(weights.folder)
        model = read_model(weights.folder, family.encoder is not None, dtype=_dtype(source.dtype, device, config))
        nn.Module.eval(nn.Module.to(model, device)).requires_grad_(False)
        layers = _feed_forwards(model, family)
        loaded = CodeModel(
            model=model,
            tokenizer=tokenizer,
            layers=layers,
            final_norm=_part(model, family.final_norm) or nn.Identity(),
            family=family,
            facts=_facts(weights, config, family, tokenizer, layers),
        )
        if family.encoder is not None:
            loaded = _beside(loaded, family.encoder)
            check_model(loaded.of("E"))
        check_model(loaded)
    return loaded


def _beside(decoder: CodeModel, encoder: Family) -> CodeModel:
    """A decoder with the encoder beside it."""
    layers = _feed_forwards(decoder.model, encoder)
    others = {
        "bos": [],
        "other_keys_per_layer": [each.n_keys for each in layers],
        "framing": framing_of(decoder.tokenizer, decoder.model.config),
    }
    return replace(
        decoder,
        facts=decoder.facts.model_copy(update=others),
        other=OtherStack(layers, _part(decoder.model, encoder.final_norm) or nn.Identity(), encoder),
    )


def _check_unquantised(name: str, config: Mapping[str, Any]) -> None:
    quantised = config.get("quantization_config")
    if quantised is not None:
        method = quantised.get("quant_method") if isinstance(quantised, Mapping) else None
        raise QuantisedWeights(
            f"the weights of {name} are quantised ({method or 'the method is not stated'}), so their values cannot be read "
            "as vectors: use the unquantised model, or a GGUF file, which Keyscope dequantises"
        )


def _tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if not isinstance(tokenizer, PreTrainedTokenizerFast) or not tokenizer(PROMPT)["input_ids"]:
        raise ValueError("it has no fast tokenizer (tokenizer.json), which is needed for token positions")
    if vocabulary_size(tokenizer) > MOST:
        raise ValueError(
            f"its tokenizer has the token id {vocabulary_size(tokenizer) - 1:,}, the highest may be {MOST:,}"
        )
    return tokenizer


def find_device(name: str) -> torch.device:
    """Find a device by name; `auto` is CUDA if available, else the CPU.

    Raises:
        DeviceUnavailable: this machine does not have it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceUnavailable(f"{name!r} is not a device: use cpu, cuda or cuda:1") from error
    if device.type not in ("cpu", "cuda"):
        raise DeviceUnavailable(f"models run on cpu and cuda, not on {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceUnavailable(f"there is no device {name}: CUDA devices found: {torch.cuda.device_count()}")
    return device


def _dtype(name: str, device: torch.device, config: Any) -> torch.dtype:
    if name == "auto":
        stored = getattr(config, "dtype", None)
        return stored if device.type != "cpu" and isinstance(stored, torch.dtype) else torch.float32
    try:
        return DTYPES[name]
    except KeyError:
        raise DeviceUnavailable(f"{name!r} is not a dtype: use auto, {', '.join(DTYPES)}") from None


def _feed_forwards(model: nn.Module, family: Family) -> tuple[FeedForward, ...]:
    layers = []
    for number, block in enumerate(operator.attrgetter(family.layers)(model)):
        found = FeedForward(
            layer=number,
            block=block,
            norm=_part(block, family.norm),
            up=operator.attrgetter(family.up)(block),
            gate=_part(block, family.gate),
            down=operator.attrgetter(family.down)(block),
            post_norm=_part(block, family.post_norm),
            multiplier=family.multiplier,
        )
        if not found.values.is_floating_point():
            raise ModelCheckFailed(
                f"layer {number} stores its values as {found.values.dtype}: quantised weights cannot be read as vectors; "
                "use the unquantised model"
            )
        layers.append(found)
    return tuple(layers)


def _part(module: nn.Module, path: str | None) -> nn.Module | None:
    part: nn.Module | None = operator.attrgetter(path)(module) if path else None
    return part


def _facts(
    weights: Weights, config: Any, family: Family, tokenizer: PreTrainedTokenizerFast, layers: tuple[FeedForward, ...]
) -> ModelFacts:
    return ModelFacts(
        model_id=weights.model_id,
        revision=weights.revision,
        architecture=config.model_type,
        weights_sha256=weights.sha256,
        tokenizer_sha256=hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
        n_layers=len(layers),
        keys_per_layer=[each.n_keys for each in layers],
        width=layers[0].values.shape[1],
        vocabulary=min(vocabulary_size(tokenizer), config.vocab_size),
        activation=family.activation,
        gated=family.gate is not None,
        parallel=family.parallel,
        bos=prefix_ids(tokenizer),
        stack=family.stack,
        undefined=family.undefined,
    )
