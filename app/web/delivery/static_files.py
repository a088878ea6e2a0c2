"""Serves the files of the pages, which browsers keep for as long as their address names the present version."""

import hashlib
import os
import re
from functools import cache
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from keyscope.app.web.delivery.prompt_files import PromptFiles

FOREVER = "public, max-age=31536000, immutable"
ENCODINGS = {"br": ".br", "gzip": ".gz"}
"""Suffixes of the compressed copies that stand beside a file, by their content coding, the smallest first."""
_VERSION = re.compile(r"[0-9a-f]{16}")
_REFUSED = re.compile(r"\s*q=0(\.0*)?\s*")


class VersionedFiles(PromptFiles):
    """The files of a folder at `/{version}/{path}`, where the version is a digest of them all.

    It is the first part of the path, not a query, so a module's relative imports carry it too. Without a version, or
    with that of another release, an address leads to the present file, and browsers ask again each time.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.version = _digest(directory)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, in an encoding that the client accepts."""
        version, _, rest = path.partition(os.sep)
        response = await super().get_response(rest if _VERSION.fullmatch(version) else path, scope)
        response.headers["Cache-Control"] = FOREVER if version == self.version else "no-cache"
        return response

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """The file or, where the client accepts its encoding, the compressed copy beside it."""
        copies = {name: path for name, suffix in ENCODINGS.items() if (path := Path(f"{full_path}{suffix}")).is_file()}
        accepted = Headers(scope=scope).get("accept-encoding", "")
        encoding = next((name for name in copies if _accepts(accepted, name)), None)
        if encoding is None:
            response = super().file_response(full_path, stat_result, scope, status_code)
        else:
            # Starlette takes the media type from the name before .br or .gz.
            copy = copies[encoding]
            response = super().file_response(copy, copy.stat(), scope, status_code)
            response.headers["Content-Encoding"] = encoding
        if copies:
            response.headers.add_vary_header("Accept-Encoding")
        return response


def _accepts(header: str, encoding: str) -> bool:
    for each in header.split(","):
        name, _, weight = each.partition(";")
        if name.strip().lower() == encoding:
            return not _REFUSED.fullmatch(weight)
    return False


@cache
def _digest(directory: Path) -> str:
    """Of the names and contents of all files, so that servers with equal files give equal addresses."""
    digest = hashlib.sha256()
    for path in sorted(each for each in directory.rglob("*") if each.is_file()):
        digest.update(f"{path.relative_to(directory).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
