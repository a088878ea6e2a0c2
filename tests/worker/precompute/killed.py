"""A process that computes a run again and again, killed each time at a random moment, until it succeeds.

Usage: python -m tests.worker.precompute.killed MODEL CORPUS OUT KILLS. Prints how often it was killed.

Each attempt is a fork that sends itself SIGKILL at the n-th audited event (a file opened, renamed or removed, a folder
made, …), with n drawn from the number of events of an uninterrupted run: kills fall between any two steps that touch the
disk.
"""

import os
import random
import signal
import sys
from pathlib import Path

import torch

from tests.worker.precompute.corpora import run


def attempt(model: Path, corpus: Path, out: Path, die_at: int | None) -> tuple[int, int]:
    """Compute in a fork; return its exit status and, if it survived, how many events it saw."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        seen = 0

        def audit(_event: str, _arguments: object) -> None:
            nonlocal seen
            seen += 1
            if seen == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(audit)
        run(model, corpus, out, resume=True, shard_tokens=1)
        os.write(write, str(seen).encode())
        os._exit(0)
    os.close(write)
    _, status = os.waitpid(child, 0)
    with os.fdopen(read) as said:
        return status, int(said.read() or 0)


def main(model: Path, corpus: Path, out: Path, kills: int) -> None:
    """Count the events of an uninterrupted run, then kill the requested number of attempts before letting one finish."""
    torch.set_num_threads(1)  # no thread pool may exist when forking
    _, events = attempt(model, corpus, out / "counted", None)
    draw = random.Random(0)
    killed = 0
    for _ in range(kills):
        status, _ = attempt(model, corpus, out / "killed", draw.randrange(1, events))
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert not list((out / "killed").glob("*.duckdb")), "a final file before the end"
        killed += 1
    else:
        status, _ = attempt(model, corpus, out / "killed", None)
        assert status == 0
    print(killed)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), int(sys.argv[4]))
