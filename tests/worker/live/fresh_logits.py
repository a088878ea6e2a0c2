"""Run as a program: the sha256 of the logits of `TEXT`, in a process that has done nothing else."""

import hashlib
import sys

import torch

from keyscope.worker.model.code_model import CodeModel
from keyscope.worker.model.load import load_model
from keyscope.worker.model.source import ModelSource

TEXT = "import os\n\n\nclass Reader:\n    def __init__(self, path):\n        self.path = path\n"


@torch.no_grad()
def logits_sha256(model: CodeModel) -> str:
    """The sha256 over the exact bits of all logits, of two equal rows as in a generation."""
    ids = model.tokenizer(TEXT, return_tensors="pt")["input_ids"].repeat(2, 1)
    return hashlib.sha256(model.logits(ids).numpy().tobytes()).hexdigest()


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    print(logits_sha256(load_model(ModelSource(sys.argv[1]))))
