"""The demo's parts: a run over code that every machine has, found again by its content, and the two servers."""

import hashlib
import json
import secrets
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from keyscope.cli.supervise import Service
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.manifest import BURN_IN, BosPolicy, RunSettings
from keyscope.contract.runfile import SCHEMA_VERSION
from keyscope.contract.whole import file_sha256, write_whole
from keyscope.worker.corpus.demo import DemoSources, demo_sources
from keyscope.worker.model.known import locate_model
from keyscope.worker.model.source import DEFAULT_CACHE, ModelSource
from keyscope.worker.progress import Progress

HOST = "127.0.0.1"
FIRST_PORT = 8000


class PortTaken(KeyscopeError, status=409):
    """The requested port is in use."""


@dataclass(frozen=True, slots=True)
class Share:
    """How much of the demo corpus a model reads: files of all sizes, long ones cut, so triggers come from many of them."""

    files_per_language: int
    tokens_per_file: int
    bos: BosPolicy = "auto"
    """What stood in front of a file when the model was trained."""

    def settings(self, files_per_language: int | None) -> RunSettings:
        """The settings of the run."""
        return RunSettings(
            files_per_language=files_per_language or self.files_per_language,
            tokens_per_file=self.tokens_per_file,
            burn_in=BURN_IN,
            bos=self.bos,
            keep_boilerplate=False,
            ungrouped=False,
        )


SHARES = {"nano": Share(100, 6_000, bos="eos")}
"""What two cores read in some three minutes."""
SMALL_SHARE = Share(40, 1_200)
"""What two cores read in about ten minutes with a model of over a hundred million parameters."""
SOURCE = "demo"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run, and the model to serve with it."""

    run: Path
    model: str
    revision: str | None = None


def prepare(model: str, runs: Path, files_per_language: int | None, progress: Progress) -> Prepared:
    """Return the demo run of a model; compute it unless there is one of the same model, corpus and settings.

    Raises:
        KeyscopeError: from model, corpus, precompute or disk.
    """
    place = locate_model(model, progress)
    settings = SHARES.get(model, SMALL_SHARE).settings(files_per_language)
    corpus = demo_sources(DEFAULT_CACHE, announce=progress.note)
    for language, reason in corpus.missing.items():
        progress.note(f"continuing without {language}: {reason}")
    index = _Index(runs / ".demo" / "index.json")
    key = _key(place, corpus, settings)
    found = index.get(key)
    if found is not None and (runs / found).is_file():
        progress.note(f"the run exists already: {runs / found}")
        return Prepared(runs / found, place)

    from keyscope.worker.precompute.run import PrecomputeRequest, precompute  # imports torch, which takes seconds

    run = precompute(
        PrecomputeRequest(
            source=ModelSource(place),
            corpus=(SOURCE,),
            out=runs,
            settings=settings,
            languages=tuple(dict.fromkeys(each.language for each in corpus.sources)),
            corpus_name="demo",
            corpus_version=corpus.fingerprint,
            resume=True,
        ),
        progress,
    )
    index.put(key, run.name)
    return Prepared(run, place)


def services(prepared: Prepared, runs: Path, logs: Path, server_port: int, worker_port: int) -> list[Service]:
    """The live worker of the run's model and the web server; they share a fresh secret."""
    secret = {"KEYSCOPE_WORKER_TOKEN": secrets.token_urlsafe()}
    model = ["--model", prepared.model, *(["--revision", prepared.revision] if prepared.revision else [])]
    worker_url, server_url = f"http://{HOST}:{worker_port}", f"http://{HOST}:{server_port}"
    return [
        Service(
            name="worker",
            command=_keyscope("worker", *model, "--runs", runs, "--host", HOST, "--port", worker_port),
            health_url=f"{worker_url}/healthz",
            log=logs / "worker.log",
            environment=secret,
            restarts=1,
        ),
        Service(
            name="server",
            command=_keyscope(
                "serve", "--runs", runs, "--host", HOST, "--port", server_port, "--worker-url", worker_url
            ),
            health_url=f"{server_url}/healthz",
            log=logs / "server.log",
            environment=secret,
        ),
    ]


def choose_ports(wanted: int | None) -> tuple[int, int]:
    """Choose ports for server and worker: the wanted one or the first free from 8000 on, then the next free one.

    Raises:
        PortTaken: the wanted port is in use.
    """
    if wanted is not None and not _is_free(wanted):
        raise PortTaken(f"port {wanted} is in use: stop the program that uses it, or choose another with --port")
    server = wanted or _next_free(count(FIRST_PORT))
    return server, _next_free(count(server + 1 if server < 65_000 else FIRST_PORT))


class _Index:
    """Maps a content to its run file, in a small JSON file beside the runs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, key: str) -> str | None:
        """The name of the run file with this content."""
        name = self._read().get(key)
        return name if isinstance(name, str) else None

    def put(self, key: str, name: str) -> None:
        """Remember the run file with this content."""
        write_whole(self._path, json.dumps(self._read() | {key: name}, indent=2) + "\n")

    def _read(self) -> dict[str, object]:
        try:
            return dict(json.loads(self._path.read_text("utf-8")))
        except (OSError, ValueError):  # missing or damaged: the precompute then finds the run by its name
            return {}


def _key(model: str, corpus: DemoSources, settings: RunSettings) -> str:
    content = [SCHEMA_VERSION, _model_content(Path(model)), SOURCE, corpus.fingerprint, settings.model_dump()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _model_content(place: Path) -> str:
    """What identifies a model: sha256 of its file or of its folder's files, or its hub name."""
    if place.is_file():
        return file_sha256(place)
    if place.is_dir():
        return " ".join(f"{file.name} {file_sha256(file)}" for file in sorted(place.iterdir()) if file.is_file())
    return str(place)


def _keyscope(*arguments: object) -> list[str]:
    return [sys.executable, "-P", "-m", "keyscope", *map(str, arguments), "--stop-with-input"]


def _next_free(ports: Iterable[int]) -> int:
    return next(port for port in ports if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as servers do: a port that was just closed counts as free
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
