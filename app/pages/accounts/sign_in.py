"""`/sign-in`, `/sign-out` and `/invitation`: starting and ending a browser's session."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from keyscope.app.accounts import passwords, sessions
from keyscope.app.accounts import sign_in as entrance
from keyscope.app.accounts.identity import AtBrowser, Person, Visitor
from keyscope.app.accounts.sign_in import Origin
from keyscope.app.database.engine import Database
from keyscope.app.web import admission
from keyscope.app.web.dependencies import LabelsDatabase, SettingsOf
from keyscope.app.web.error_handlers import describe
from keyscope.app.web.forms import FormModel, Next, see_other, way_back
from keyscope.app.web.links import Links
from keyscope.app.web.render import Frame, Help, Page, respond
from keyscope.contract.errors import KeyscopeError

router = APIRouter()


def _origin(request: Request) -> Origin:
    address = request.client.host if request.client else "unknown"
    mark = request.cookies.get(admission.DEVICE_COOKIE, "")
    return Origin(address, request.headers.get("user-agent", "unknown"), mark)


RequestOrigin = Annotated[Origin, Depends(_origin)]
"""Address and browser of a request."""


@dataclass(frozen=True, slots=True)
class SignInPage(Page):
    name: Annotated[str, Help("Name as typed")]
    next: Annotated[str, Help("Address to return to")]
    provider: Annotated[str | None, Help("Address that starts signing in with the provider; None without one")]
    problem: Annotated[str | None, Help("Why signing in failed; None before a try")]


@dataclass(frozen=True, slots=True)
class InvitationPage(Page):
    name: Annotated[str, Help("Name the invitation is for")]
    code: Annotated[str, Help("Code as sent, to try again")]
    shortest: Annotated[int, Help("Minimum length of a password")]
    problem: Annotated[str | None, Help("Why the invitation was refused; None before a try")]


class SignInForm(FormModel):
    name: str = ""
    password: str = ""
    next: str = ""


class InvitationForm(FormModel):
    """A code from a link, and the password chosen."""

    name: str = ""
    code: str = ""
    password: str = ""


@router.get("/sign-in", name="sign_in_page")
def sign_in_page(request: Request, settings: SettingsOf, visitor: Visitor, wanted: Next = "") -> Response:
    """The form; those already signed in are sent on."""
    if visitor is not None:
        return see_other(way_back(request, wanted))
    return _sign_in_page(request, settings.oidc_issuer, SignInForm(next=wanted))


@router.post("/sign-in", name="sign_in")
def sign_in(
    request: Request,
    form: Annotated[SignInForm, Form()],
    settings: SettingsOf,
    database: LabelsDatabase,
    visitor: Visitor,
    origin: RequestOrigin,
) -> Response:
    """Begin a session and return to the page the person came from."""
    try:
        secret = entrance.sign_in(database, form.name, form.password, origin)
    except KeyscopeError as error:
        return _sign_in_page(request, settings.oidc_issuer, form, error)
    return signed_in(request, database, visitor, secret, way_back(request, form.next))


@router.post("/sign-out", name="sign_out")
def sign_out(request: Request, database: LabelsDatabase, me: AtBrowser) -> RedirectResponse:
    """End this browser's session."""
    database.write(lambda session: sessions.end(session, me.account_id, me.session_id))
    response = see_other(request.url_for("sign_in_page").path)
    admission.forget(request, response)
    return response


@router.get("/invitation", name="invitation_page")
def invitation_page(request: Request, name: str = "") -> HTMLResponse:
    """The form; a script fills in the code from the link's fragment."""
    return _invitation_page(request, InvitationForm(name=name))


@router.post("/invitation", name="accept_invitation")
def accept_invitation(
    request: Request,
    form: Annotated[InvitationForm, Form()],
    database: LabelsDatabase,
    visitor: Visitor,
    origin: RequestOrigin,
) -> Response:
    """Choose a password and begin a session."""
    try:
        secret = entrance.accept_invitation(database, form.name, form.code, form.password, origin)
    except KeyscopeError as error:
        return _invitation_page(request, form, error)
    return signed_in(request, database, visitor, secret, request.url_for("account_page").path)


def signed_in(request: Request, database: Database, before: Person | None, secret: str, onward: str) -> Response:
    """Give the browser its new session, end its old one, and go on."""
    if before is not None and (presence := before.presence) is not None:
        database.write(lambda session: sessions.end_of(session, presence.secret_sha256))
    response = see_other(onward)
    admission.remember(request, response, secret)
    begun = database.read(lambda session: sessions.find(session, secret))
    if begun is not None:
        admission.remember_device(request, response, begun.account)
    return response


def _sign_in_page(
    request: Request, issuer: str | None, form: SignInForm, problem: KeyscopeError | None = None
) -> HTMLResponse:
    frame = Frame("Sign in", Links(request))
    onward = way_back(request, form.next)
    provider = f"{frame.links.to('begin_with_provider')}?{urlencode({'next': onward})}" if issuer else None
    page = SignInPage(frame, form.name, onward, provider, problem.detail if problem else None)
    return _answer(request, "accounts/sign_in.html", page, problem)


def _invitation_page(request: Request, form: InvitationForm, problem: KeyscopeError | None = None) -> HTMLResponse:
    frame = Frame("Invitation", Links(request))
    detail = problem.detail if problem else None
    page = InvitationPage(frame, form.name, form.code, passwords.SHORTEST, detail)
    return _answer(request, "accounts/invitation.html", page, problem)


def _answer(request: Request, template: str, page: Page, problem: KeyscopeError | None) -> HTMLResponse:
    if problem is None:
        return respond(request, template, page)
    failure = describe(problem)
    return respond(request, template, page, failure.status, failure.headers)
