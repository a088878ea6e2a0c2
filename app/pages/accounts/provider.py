"""`/sign-in/provider`: to the OpenID provider and back, to sign in or to link an identity to an account."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from keyscope.app.accounts import joining, people, sessions
from keyscope.app.accounts import sign_in as entrance
from keyscope.app.accounts.identity import AtBrowser, Person, Visitor
from keyscope.app.accounts.oidc import Flow, Identity, Provider, ProviderRefused
from keyscope.app.accounts.sign_in import Origin
from keyscope.app.database.engine import Database
from keyscope.app.errors import NotFound
from keyscope.app.pages.accounts import account
from keyscope.app.pages.accounts.sign_in import RequestOrigin, signed_in
from keyscope.app.roles import Role
from keyscope.app.web import admission
from keyscope.app.web.dependencies import LabelsDatabase, SettingsOf
from keyscope.app.web.forms import FormModel, Next, see_other, way_back
from keyscope.app.web.links import Links
from keyscope.app.web.render import NEVER_STORED, Frame, Help, Page, respond
from keyscope.contract.errors import KeyscopeError

COOKIE = "keyscope-provider"
COOKIE_SECONDS = 600
router = APIRouter()


def _provider(request: Request) -> Provider:
    provider: Provider | None = request.app.state.provider
    if provider is None:
        raise NotFound("people sign in with a password here")
    return provider


OpenIdProvider = Annotated[Provider, Depends(_provider)]


@dataclass(frozen=True, slots=True)
class JoiningPage(Page):
    """The page that leads to the provider."""

    name: Annotated[str, Help("Account the identity will be linked to")]
    provider: Annotated[str, Help("Host of the provider")]
    address: Annotated[str, Help("The provider's sign-in address")]


class JoinForm(FormModel):
    password: str = ""


@router.get("/sign-in/provider", name="begin_with_provider")
async def begin(request: Request, provider: OpenIdProvider, wanted: Next = "") -> RedirectResponse:
    """Send the browser to the provider."""
    address, flow = await provider.begin(_return_address(request), way_back(request, wanted))
    response = see_other(address)
    _keep(request, response, flow)
    return response


@router.post("/account/provider/join", name="join_identity")
async def begin_joining(
    request: Request,
    form: Annotated[JoinForm, Form()],
    provider: OpenIdProvider,
    database: LabelsDatabase,
    me: AtBrowser,
    origin: RequestOrigin,
) -> Response:
    """Show a link to the provider, which sends the browser back with an identity to link.

    A page rather than a redirect: form-action 'self' forbids forms that lead to another site.
    """
    try:
        await run_in_threadpool(entrance.check_password, database, me.person.name, form.password, origin)
        await run_in_threadpool(database.read, lambda session: joining.check_free(people.by_id(session, me.account_id)))
    except KeyscopeError as error:
        return await run_in_threadpool(account.refused, request, database, me, error)
    address, flow = await provider.begin(_return_address(request), "")
    frame = Frame("Link an identity", Links(request))
    host = urlsplit(provider.issuer).netloc
    page = JoiningPage(frame, me.person.name, host, address)
    response = respond(request, "accounts/joining.html", page, headers=NEVER_STORED)
    _keep(request, response, joining.for_joining(flow, request.cookies[admission.COOKIE]))
    return response


@router.post("/account/provider/part", name="part_from_identity")
def part(request: Request, database: LabelsDatabase, me: AtBrowser) -> Response:
    """Unlink the account from its identity."""
    try:
        database.write(lambda session: joining.part(session, me.account_id))
    except KeyscopeError as error:
        return account.refused(request, database, me, error)
    return see_other(_account_page(request))


@router.get("/sign-in/provider/return", name="return_from_provider")
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
    """Begin a session for the person the provider sent back, or link their identity to their account.

    Raises:
        ProviderFailed, ProviderRefused: the provider did not identify them, or does not admit them.
        IdentityTaken: the identity belongs to another account, or the account already has one.
    """
    if error or not code:
        raise ProviderRefused(f"the provider did not sign you in ({error or 'no code'}): start again")
    flow = _kept(request)
    joins = _joining(request, visitor, flow) if flow.joins else None
    identity = await provider.finish(_return_address(request), flow, code, state)
    if joins is not None:
        await run_in_threadpool(database.write, lambda session: joining.join(session, joins, identity))
        response: Response = see_other(_account_page(request))
    else:
        secret = await run_in_threadpool(_begin_session, database, identity, settings.oidc_role, origin)
        onward = way_back(request, flow.next)
        response = await run_in_threadpool(signed_in, request, database, visitor, secret, onward)
    response.delete_cookie(COOKIE, path=_cookie_path(request))
    return response


def _joining(request: Request, visitor: Person | None, flow: Flow) -> int:
    """The account to link the identity to: the one whose session started it."""
    secret = request.cookies.get(admission.COOKIE, "")
    if (
        visitor is None
        or visitor.account_id is None
        or visitor.session_id is None
        or not joining.began_in(flow, secret)
    ):
        raise ProviderRefused("joining an identity did not begin in this session: start again on your account's page")
    return visitor.account_id


def _begin_session(database: Database, identity: Identity, role: Role, origin: Origin) -> str:
    account = database.write(lambda session: people.from_provider(session, identity, role))
    if account.disabled_at:
        raise ProviderRefused(f"{account.name} may not sign in: ask an admin")
    return database.write(lambda session: sessions.begin(session, account.id, origin.browser))


def _keep(request: Request, response: Response, flow: Flow) -> None:
    response.set_cookie(
        COOKIE,
        urlsafe_b64encode(flow.model_dump_json().encode()).decode(),
        max_age=COOKIE_SECONDS,
        path=_cookie_path(request),
        secure=request.url.scheme == "https",
        httponly=True,
        # The way back is a link on another site, which does not carry a strict cookie.
        samesite="lax",
    )


def _kept(request: Request) -> Flow:
    try:
        return Flow.model_validate_json(urlsafe_b64decode(request.cookies.get(COOKIE, "")))
    except (ValidationError, ValueError) as error:
        raise ProviderRefused("this sign-in did not begin in this browser, or took too long: start again") from error


def _cookie_path(request: Request) -> str:
    return request.url_for("begin_with_provider").path


def _return_address(request: Request) -> str:
    return str(request.url_for("return_from_provider"))


def _account_page(request: Request) -> str:
    return f"{request.url_for('account_page').path}#provider"
