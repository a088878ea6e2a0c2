"""Who may use the worker: those with its token or, without one, this machine alone."""

import hmac
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from keyscope.serving.answers import error_response
from keyscope.serving.hosts import OpenToOthers, UntrustedHost, check_host, is_loopback
from keyscope.worker.live.errors import Unauthorised
from keyscope.worker.live.settings import WorkerSettings

_SET_A_TOKEN = "set KEYSCOPE_WORKER_TOKEN to a secret, here and where the server runs"  # noqa: S105 - advice


def check_exposure(settings: WorkerSettings) -> None:
    """Check that clients need a token, or that only this machine can connect.

    Raises:
        OpenToOthers: the worker would listen beyond the loopback interface without a token.
    """
    if settings.token is None and not is_loopback(settings.host):
        raise OpenToOthers(
            f"this worker has no token, and others could reach it on {settings.host or 'every address'}: {_SET_A_TOKEN}"
        )


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


class HostGuard:
    """Lets in requests that address the worker as this machine, where no token is needed."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 421."""
        if scope["type"] == "http":
            try:
                check_host(Headers(scope=scope).get("host", ""), (), _SET_A_TOKEN)
            except UntrustedHost as refusal:
                await error_response(refusal)(scope, receive, send)
                return
        await self.app(scope, receive, send)
