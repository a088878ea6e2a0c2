"""Small synthetic corpora, and runs computed over them."""

import random
from pathlib import Path

from keyscope.contract.manifest import RunSettings
from keyscope.worker.model.source import ModelSource
from keyscope.worker.precompute.run import PrecomputeRequest, precompute
from keyscope.worker.progress import Silent

WORDS = [
    "def",
    "return",
    "import",
    "for",
    "in",
    "if",
    "else",
    "None",
    "True",
    "self.x",
    "value",
    "np.zeros",
    "range",
    "print",
    "#",
    "naïve",
    "'数字'",
    "==",
    "+=",
    "(",
    ")",
    "[",
    "]",
    ":",
    ",",
    ".",
]
LANGUAGES = ("python", "go")
SETTINGS = RunSettings(window=32, stride=32, top_k=5, context=4, keep_duplicates=True)


def write_corpus(folder: Path, files: int = 8, seed: int = 0) -> Path:
    """Random code-like files of both languages; some share their beginning, so coefficients tie exactly."""
    draw = random.Random(seed)
    for number in range(files):
        for suffix in ("py", "go"):
            lines = ["import os", "import sys"] if number % 2 else []
            for _ in range(draw.randrange(2, 14)):
                lines.append(" " * draw.choice([0, 4, 8]) + " ".join(draw.choices(WORDS, k=draw.randrange(1, 9))))
            path = folder / f"part{number % 3}" / f"file{number}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def request(
    model: Path, corpus: Path, out: Path, settings: RunSettings = SETTINGS, **more: object
) -> PrecomputeRequest:
    """A request on the CPU with shards of about three files."""
    source = ModelSource(str(model), device="cpu")
    options: dict[str, object] = {
        "source": source,
        "shard_tokens": 300,
        "batch": 4,
        "languages": LANGUAGES,
        **more,
    }
    return PrecomputeRequest(
        corpus=(str(corpus),),
        out=out,
        settings=settings,
        **options,  # type: ignore[arg-type]
    )


def run(model: Path, corpus: Path, out: Path, settings: RunSettings = SETTINGS, **more: object) -> Path:
    """Compute a run and return its file."""
    return precompute(request(model, corpus, out, settings, **more), Silent())
