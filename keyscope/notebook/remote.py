"""Runs at a web address or on the Hugging Face hub, downloaded once, with the analyses beside them."""

import hashlib
import os
import re
import shutil
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from keyscope.contract.analyses.files import analysis_path
from keyscope.contract.analyses.kinds import KINDS
from keyscope.contract.cache import default_cache
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.tables import SUFFIX

HUB = "https://huggingface.co"
_HUB_FILE = re.compile(r"hf://(datasets/[^/@]+/[^/@]+)(?:@([^/]+))?/(.+)")
TIMEOUT = 60
"""Seconds without an answer after which a server is given up."""


class DownloadFailed(KeyscopeError, OSError, status=502):
    """A remote run cannot be fetched."""


def is_remote(place: str) -> bool:
    """Whether a run is at a web address or on the hub."""
    return place.startswith(("https://", "http://", "hf://"))


def download(place: str) -> Path:
    """The local copy of a remote run, fetched unless it is there already.

    Run files never change once published, so an address is fetched once. Analyses may be added later: those that are
    not there yet are asked for each time.

    Raises:
        DownloadFailed: the address is not that of a run file, or the server does not give it.
    """
    address = _address(place)
    name = Path(urlsplit(address).path).name
    if not name.endswith(SUFFIX):
        raise DownloadFailed(f"{place} does not name a run file: the address has to end in {SUFFIX}")
    path = default_cache() / "runs" / hashlib.sha256(address.encode()).hexdigest()[:16] / name
    if not path.is_file() and not _fetch(address, path):
        raise DownloadFailed(f"there is no run file at {place}")
    for kind in KINDS:
        beside = analysis_path(path, kind)
        if not beside.is_file():
            _fetch(address.removesuffix(SUFFIX) + f".analysis/{beside.name}", beside)
    return path


def _address(place: str) -> str:
    """The web address of a place on the hub; every other address as it is."""
    if not place.startswith("hf://"):
        return place
    match = _HUB_FILE.fullmatch(place)
    if match is None:
        raise DownloadFailed(f"{place} is not a file of a dataset: write hf://datasets/ORG/NAME/FILE{SUFFIX}")
    dataset, revision, file = match.groups()
    return f"{_hub()}/{dataset}/resolve/{quote(revision or 'main', safe='')}/{quote(file)}"


def _fetch(address: str, path: Path) -> bool:
    """Download a file whole or not at all; False where the server has none of that name."""
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with urlopen(_request(address), timeout=TIMEOUT) as answer, part.open("wb") as file:  # noqa: S310
            shutil.copyfileobj(answer, file, 1 << 20)
            expected = answer.headers.get("Content-Length")
        if expected is not None and part.stat().st_size != int(expected):
            raise DownloadFailed(f"{address} ended after {part.stat().st_size} of {expected} bytes: try again")
        part.replace(path)
    except HTTPError as error:
        if error.code == 404:
            return False
        raise DownloadFailed(f"{address} answered {error.code} {error.reason}") from error
    except URLError as error:
        raise DownloadFailed(f"{address} cannot be reached: {error.reason}") from error
    finally:
        part.unlink(missing_ok=True)
    return True


def _request(address: str) -> Request:
    request = Request(address)  # noqa: S310 - only addresses that `is_remote` let through
    token = os.environ.get("HF_TOKEN")
    if token and urlsplit(address).netloc == urlsplit(_hub()).netloc:
        # The hub redirects to other servers, which must not see the token.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return request


def _hub() -> str:
    return os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
