"""A small OpenID provider that signs everyone in as the same person and follows the protocol unless told otherwise."""

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import urlencode

import httpx2
from fastapi import FastAPI, Form, Header, HTTPException
from fastapi.responses import JSONResponse, RedirectResponse
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "keyscope", "between us"


@dataclass
class FakeProvider:
    """The provider's app, what tests can change about it, and the requests it received."""

    issuer: str = ""
    claims: dict[str, Any] = field(
        default_factory=lambda: {
            "sub": "u-1",
            "name": "Grace H.",
            "email": "grace@team.example",
            "email_verified": True,
        }
    )
    """Claims of the next token; may override correct values with wrong ones."""
    without: set[str] = field(default_factory=set)
    """Claims missing from the next token."""
    algorithm: str = "RS256"
    sign_with: Any = None
    """A key other than the published one."""
    asked: list[dict[str, str]] = field(default_factory=list)
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "k1", "use": "sig"}))
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def app(self) -> FastAPI:
        app = FastAPI()
        app.get("/.well-known/openid-configuration")(self.configuration)
        app.get("/authorize")(self.authorize)
        app.post("/token")(self.token)
        app.get("/jwks")(self.jwks)
        return app

    def configuration(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def jwks(self) -> dict[str, Any]:
        return {"keys": [self.key.as_dict(private=False)]}

    def authorize(
        self,
        response_type: str,
        client_id: str,
        redirect_uri: str,
        scope: str,
        state: str,
        nonce: str,
        code_challenge: str,
        code_challenge_method: str,
    ) -> RedirectResponse:
        assert (response_type, client_id, code_challenge_method) == ("code", CLIENT, "S256")
        assert "openid" in scope.split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = {"redirect_uri": redirect_uri, "nonce": nonce, "challenge": code_challenge}
        self.asked.append({"state": state, "nonce": nonce, "redirect_uri": redirect_uri})
        return RedirectResponse(f"{redirect_uri}?{urlencode({'code': code, 'state': state})}", 302)

    def token(
        self,
        grant_type: Annotated[str, Form()],
        code: Annotated[str, Form()],
        redirect_uri: Annotated[str, Form()],
        code_verifier: Annotated[str, Form()],
        authorization: Annotated[str, Header()],
    ) -> Any:
        expected = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if authorization != f"Basic {expected}":
            raise HTTPException(401)
        known = self.codes.pop(code, None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(code_verifier.encode()).digest()).rstrip(b"=").decode()
        wanted = {"redirect_uri": redirect_uri, "challenge": challenge}
        if grant_type != "authorization_code" or known is None or not wanted.items() <= known.items():
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": known["nonce"],
        } | self.claims
        kept = {name: value for name, value in claims.items() if name not in self.without}
        header = {"alg": self.algorithm, "kid": "k1"}
        id_token = jwt.encode(header, kept, self.sign_with or self.key, algorithms=[self.algorithm])
        return {"access_token": "unused", "token_type": "Bearer", "expires_in": 300, "id_token": id_token}


def vouched(address: str) -> str:
    """Visit the provider at `address`; returns where it sends the browser back to."""
    return httpx2.get(address).headers["location"]
