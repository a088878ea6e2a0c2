"""The worker's token, checked before every endpoint."""

import hmac
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from keyscope.serving.answers import error_response
from keyscope.worker.live.errors import Unauthorised


class TokenGuard:
    """Lets in requests that carry the token as `Authorization: Bearer …`, and all requests for the open paths."""

    def __init__(self, app: ASGIApp, token: str, open_paths: Collection[str]) -> None:
        self.app = app
        self.expected = f"Bearer {token}".encode()
        self.open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] == "http" and scope["path"] not in self.open_paths and not self._is_allowed(scope):
            refusal = Unauthorised(
                "this worker requires its token: send the value of KEYSCOPE_WORKER_TOKEN as Authorization: Bearer …"
            )
            await error_response(refusal)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        given = Headers(scope=scope).get("authorization", "").encode("latin-1")
        return hmac.compare_digest(given, self.expected)  # takes the same time wherever the texts differ
