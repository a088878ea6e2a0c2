"""Serves files even while pages have all threads."""

from pathlib import Path
from stat import S_ISREG

import anyio.to_thread
from anyio import CapacityLimiter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from keyscope.app.web.overload import QUICK_THREADS


class PromptFiles(StaticFiles):
    """Static files with threads of their own, each sent in one piece, as pages may have all the other threads."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory)
        # It was checked above; the first request would check again, and wait for a page's thread.
        self.config_checked = True
        self.threads = CapacityLimiter(QUICK_THREADS)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, 304 if the client has it, or 404."""
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        return await anyio.to_thread.run_sync(self._read, path, scope, limiter=self.threads)

    def _read(self, path: str, scope: Scope) -> Response:
        try:
            full_path, found = self.lookup_path(path)
        except (OSError, ValueError):  # too long, not readable, or not a name at all
            found = None
        if found is None or not S_ISREG(found.st_mode):
            raise HTTPException(404)
        response = self.file_response(full_path, found, scope)
        if not isinstance(response, FileResponse):
            return response
        headers = {name: value for name, value in response.headers.items() if name != "accept-ranges"}
        return Response(Path(response.path).read_bytes(), headers=headers)
