"""Sign in with an OpenID provider: the authorization code flow with PKCE, state and nonce.

The provider's metadata and keys are fetched for every sign-in: those are rare, and keys rotate.
"""

import secrets
from dataclasses import dataclass
from typing import Any

import httpx2
from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry
from pydantic import BaseModel, ConfigDict, ValidationError

from keyscope.app.accounts.credentials import new_secret
from keyscope.app.settings import Settings
from keyscope.contract.errors import KeyscopeError

SIGNED_BY = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
"""Accepted signature algorithms: asymmetric ones only, neither `none` nor shared secrets."""
SECONDS = 10.0
LEEWAY_SECONDS = 60
"""Tolerated difference between the provider's clock and ours."""


class ProviderIncomplete(KeyscopeError):
    """The settings name a provider but lack its client id or secret."""


class ProviderFailed(KeyscopeError, status=502):
    """The provider does not respond, or its response is not OpenID."""


class ProviderRefused(KeyscopeError, status=403):
    """The provider or our settings reject this person, or the response belongs to no sign-in begun here."""


class Flow(BaseModel):
    """What the browser carries to the provider and back."""

    model_config = ConfigDict(frozen=True)

    state: str
    nonce: str
    verifier: str
    next: str
    joins: str = ""
    """Proof of the session that began it, if the identity is to be joined to an account; empty otherwise."""


class _Published(BaseModel):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


@dataclass(frozen=True, slots=True)
class Identity:
    """A person as the provider describes them."""

    issuer: str
    subject: str
    names: tuple[str, ...]
    """Possible display names, the best first."""


class Provider:
    """The OpenID provider from the settings."""

    def __init__(self, issuer: str, client_id: str, client_secret: str, domains: list[str]) -> None:
        self.issuer = issuer
        self.client_id = client_id
        self.domains = frozenset(domain.lower() for domain in domains)
        self._secret = client_secret

    async def begin(self, redirect_uri: str, onward: str) -> tuple[str, Flow]:
        """The address to send the browser to, and the flow it must bring back.

        Raises:
            ProviderFailed: the provider's metadata cannot be read.
        """
        flow = Flow(state=new_secret(), nonce=new_secret(), verifier=new_secret(), next=onward)
        async with self._client(redirect_uri) as client:
            published = await self._published(client)
            address, _ = client.create_authorization_url(
                published.authorization_endpoint, state=flow.state, nonce=flow.nonce, code_verifier=flow.verifier
            )
        return str(address), flow

    async def finish(self, redirect_uri: str, flow: Flow, code: str, state: str) -> Identity:
        """The identity of the person who came back.

        Raises:
            ProviderFailed: the provider does not respond, or its response is not OpenID.
            ProviderRefused: the flow is not this browser's, the token is not valid, or the person is not allowed in.
        """
        if not secrets.compare_digest(state.encode(), flow.state.encode()):
            raise ProviderRefused("this sign-in was not started in this browser: start again")
        async with self._client(redirect_uri) as client:
            published = await self._published(client)
            try:
                answer = await client.fetch_token(published.token_endpoint, code=code, code_verifier=flow.verifier)
            except OAuthError as error:
                raise ProviderRefused(f"the provider rejected this sign-in ({error.error}): start again") from error
            except (httpx2.HTTPError, ValueError) as error:
                raise ProviderFailed(f"the provider {self.issuer} sent no token: try again later") from error
            keys = await self._json(client, published.jwks_uri)
        return self._identity(self._claims(answer, keys, flow.nonce))

    def _claims(self, answer: dict[str, Any], keys: dict[str, Any], nonce: str) -> dict[str, Any]:
        try:
            registry = JWSRegistry(algorithms=SIGNED_BY, strict_check_header=False)
            token = jwt.decode(answer["id_token"], KeySet.import_key_set(keys), registry=registry)  # type: ignore[arg-type]
            wanted = {
                "iss": {"essential": True, "value": self.issuer},
                "aud": {"essential": True, "value": self.client_id},
            }
            claims = CodeIDToken(token.claims, token.header, wanted, {"nonce": nonce, "client_id": self.client_id})
            claims.validate(leeway=LEEWAY_SECONDS)
        except (JoseError, KeyError, ValueError) as error:
            raise ProviderRefused(
                "the provider's token is not valid: start again, or ask the operator of this server"
            ) from error
        return dict(claims)

    def _identity(self, claims: dict[str, Any]) -> Identity:
        mail = str(claims.get("email", "")) if claims.get("email_verified") is True else ""
        if self.domains and mail.rpartition("@")[2].lower() not in self.domains:
            raise ProviderRefused("only people with a confirmed mail address in certain domains may sign in here")
        given = (claims.get("name"), claims.get("preferred_username"), mail)
        return Identity(
            self.issuer, str(claims["sub"]), tuple(each for each in given if isinstance(each, str) and each)
        )

    def _client(self, redirect_uri: str) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            self.client_id,
            self._secret,
            scope="openid profile email",
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            timeout=SECONDS,
        )

    async def _published(self, client: AsyncOAuth2Client) -> _Published:
        document = await self._json(client, f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        try:
            published = _Published.model_validate(document)
        except ValidationError as error:
            raise ProviderFailed(f"{self.issuer} does not publish the metadata of an OpenID provider") from error
        if published.issuer != self.issuer:
            raise ProviderFailed(
                f"the provider calls itself {published.issuer}, not {self.issuer}: correct KEYSCOPE_OIDC_ISSUER"
            )
        return published

    async def _json(self, client: AsyncOAuth2Client, address: str) -> dict[str, Any]:
        try:
            answer = await client.request("GET", address, withhold_token=True)
            answer.raise_for_status()
            document: dict[str, Any] = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise ProviderFailed(f"the provider {self.issuer} does not respond: try again later") from error
        return document


def provider_of(settings: Settings) -> Provider | None:
    """The provider from the settings, None if they name none.

    Raises:
        ProviderIncomplete: the client id or secret is missing.
    """
    if not settings.oidc_issuer:
        return None
    if not settings.oidc_client_id or settings.oidc_client_secret is None:
        raise ProviderIncomplete("KEYSCOPE_OIDC_ISSUER needs KEYSCOPE_OIDC_CLIENT_ID and KEYSCOPE_OIDC_CLIENT_SECRET")
    secret = settings.oidc_client_secret.get_secret_value()
    return Provider(settings.oidc_issuer, settings.oidc_client_id, secret, settings.oidc_domains)
