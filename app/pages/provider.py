"""`/sign-in/provider`: to the OpenID provider and back."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from app.accounts import people, sessions
from app.accounts.identity import Visitor
from app.accounts.oidc import Flow, Identity, Provider, ProviderRefused
from app.accounts.roles import Role
from app.accounts.sign_in import Origin
from app.dependencies import LabelsDatabase, SettingsOf
from app.errors import NotFound
from app.labels.database import Database
from app.pages.returning import way_back
from app.pages.sign_in import RequestOrigin, signed_in

COOKIE = "keyscope-provider"
COOKIE_SECONDS = 600
router = APIRouter(prefix="/sign-in/provider")


def _provider(request: Request) -> Provider:
    provider: Provider | None = request.app.state.provider
    if provider is None:
        raise NotFound("people sign in with a password here")
    return provider


OpenIdProvider = Annotated[Provider, Depends(_provider)]


@router.get("", name="begin_with_provider")
async def begin(request: Request, provider: OpenIdProvider, next: str = "") -> RedirectResponse:
    """Send the browser to the provider."""
    address, flow = await provider.begin(_return_address(request), way_back(request, next))
    response = RedirectResponse(address, status_code=303)
    kept = urlsafe_b64encode(flow.model_dump_json().encode()).decode()
    # It comes back by a link on another site, which a strict cookie would not survive.
    response.set_cookie(
        COOKIE,
        kept,
        max_age=COOKIE_SECONDS,
        path=request.url.path,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return response


@router.get("/return", name="return_from_provider")
async def finish(
    request: Request,
    provider: OpenIdProvider,
    settings: SettingsOf,
    database: LabelsDatabase,
    visitor: Visitor,
    origin: RequestOrigin,
    code: str = "",
    state: str = "",
    error: str = "",
) -> Response:
    """Begin a session for who comes back from the provider; the first time, make an account.

    Raises:
        ProviderFailed, ProviderRefused: the provider does not say who it is, or they may not come in.
    """
    if error or not code:
        raise ProviderRefused(f"the provider did not sign you in ({error or 'no code'}): begin again")
    flow = _kept(request)
    identity = await provider.finish(_return_address(request), flow, code, state)
    secret = await run_in_threadpool(_begin_session, database, identity, settings.oidc_role, origin)
    onward = way_back(request, flow.next)
    response = await run_in_threadpool(signed_in, request, database, visitor, secret, onward)
    response.delete_cookie(COOKIE, path=request.url_for("begin_with_provider").path)
    return response


def _begin_session(database: Database, identity: Identity, role: Role, origin: Origin) -> str:
    account = database.write(lambda session: people.from_provider(session, identity, role))
    if account.disabled_at:
        raise ProviderRefused(f"{account.name} may not sign in: ask an admin")
    return database.write(lambda session: sessions.begin(session, account.id, origin.browser))


def _kept(request: Request) -> Flow:
    try:
        return Flow.model_validate_json(urlsafe_b64decode(request.cookies.get(COOKIE, "")))
    except (ValidationError, ValueError) as error:
        raise ProviderRefused("this sign-in did not begin in this browser, or took too long: begin again") from error


def _return_address(request: Request) -> str:
    return str(request.url_for("return_from_provider"))
