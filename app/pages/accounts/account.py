"""`/account`: the visitor's own account: password, identity at the provider, sessions and tokens."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from keyscope.app.accounts import passwords, people, sessions, tokens
from keyscope.app.accounts import sign_in as entrance
from keyscope.app.accounts.identity import AtBrowser, SignedIn
from keyscope.app.accounts.models import Account, ApiToken, BrowserSession
from keyscope.app.accounts.tokens import Lifetime
from keyscope.app.database.engine import Database
from keyscope.app.pages.accounts.sign_in import RequestOrigin
from keyscope.app.roles import Role
from keyscope.app.web import admission
from keyscope.app.web.dependencies import LabelsDatabase, RowId
from keyscope.app.web.forms import FormModel, see_other
from keyscope.app.web.links import Links
from keyscope.app.web.render import NEVER_STORED, Frame, Help, Page, respond
from keyscope.contract.errors import KeyscopeError

router = APIRouter(prefix="/account")

# Order matters: most browsers also claim to be those further down.
_BROWSERS = ("Edg", "OPR", "Firefox", "Chrome", "Safari", "curl")
_NAMES = {"Edg": "Edge", "OPR": "Opera"}
_SYSTEMS = ("Android", "iPhone", "iPad", "Windows", "Mac OS X", "CrOS", "Linux")


@dataclass(frozen=True, slots=True)
class ShownProvider:
    """The account's link to the OpenID provider."""

    joined: str | None
    """Host of the linked provider."""
    subject: str | None
    """The provider's name for the person."""
    to_join: str | None
    """Host of the provider whose identity can be linked; None without a provider, or once one is linked."""

    @classmethod
    def of(cls, account: Account, issuer: str | None) -> "ShownProvider | None":
        """None if there is nothing to link or unlink."""
        if account.issuer is None and issuer is None:
            return None
        joined = urlsplit(account.issuer).netloc if account.issuer else None
        return cls(joined, account.subject, urlsplit(issuer).netloc if issuer and not account.issuer else None)


@dataclass(frozen=True, slots=True)
class AccountPage(Page):
    account: Annotated[Account, Help("The account")]
    roles: Annotated[list[Role], Help("Roles a token may have")]
    lifetimes: Annotated[list[Lifetime], Help("Lifetimes to choose from")]
    lifetime: Annotated[Lifetime, Help("Default lifetime")]
    shortest: Annotated[int, Help("Minimum length of a password")]
    provider: Annotated[ShownProvider | None, Help("The OpenID provider; None without one")]
    sessions: Annotated[list[tuple[BrowserSession, str]], Help("Signed-in browsers, each with its name")]
    this_session: Annotated[int, Help("Id of the session of the browser making this request")]
    tokens: Annotated[list[ApiToken], Help("API tokens")]
    new_token: Annotated[str | None, Help("A token just created; shown only now")]
    done: Annotated[str | None, Help("What was just done")]
    problem: Annotated[str | None, Help("Why it failed")]


class PasswordForm(FormModel):
    old: str = ""
    new: str = ""


class TokenForm(FormModel):
    name: str = ""
    role: Role = Role.VIEWER
    lifetime: Lifetime = Lifetime.QUARTER


@router.get("", name="account_page")
def account_page(request: Request, database: LabelsDatabase, me: AtBrowser) -> HTMLResponse:
    """Password, sessions and tokens."""
    return _page(request, database, me)


@router.post("/password", name="change_password")
def change_password(
    request: Request,
    form: Annotated[PasswordForm, Form()],
    database: LabelsDatabase,
    me: AtBrowser,
    origin: RequestOrigin,
) -> HTMLResponse:
    """Change the password, and sign out everywhere but here."""
    try:
        entrance.change_password(database, me, form.old, form.new, origin)
    except KeyscopeError as error:
        return refused(request, database, me, error)
    response = _page(request, database, me, done="your password is changed, and you are signed out everywhere else")
    admission.remember_device(request, response, database.read(lambda session: people.by_id(session, me.account_id)))
    return response


@router.post("/sessions/{session}/end", name="end_session")
def end_session(request: Request, session: RowId, database: LabelsDatabase, me: AtBrowser) -> RedirectResponse:
    """Sign one browser out."""
    database.write(lambda transaction: sessions.end(transaction, me.account_id, session))
    return _again(request)


@router.post("/sessions/end", name="end_sessions")
def end_sessions(request: Request, database: LabelsDatabase, me: AtBrowser) -> RedirectResponse:
    """Sign every browser out, this one included."""
    database.write(lambda transaction: sessions.end_all(transaction, me.account_id))
    return _again(request)


@router.post("/tokens", name="create_token")
def create_token(
    request: Request, form: Annotated[TokenForm, Form()], database: LabelsDatabase, me: AtBrowser
) -> HTMLResponse:
    """Create a token and show it once."""
    try:
        secret = database.write(
            lambda session: tokens.create(
                session, people.by_id(session, me.account_id), form.name, form.role, form.lifetime
            )
        )
    except KeyscopeError as error:
        return refused(request, database, me, error)
    return _page(request, database, me, new_token=secret)


@router.post("/tokens/{token}/revoke", name="revoke_token")
def revoke_token(request: Request, token: RowId, database: LabelsDatabase, me: AtBrowser) -> RedirectResponse:
    """End a token."""
    database.write(lambda session: tokens.revoke(session, me.account_id, token))
    return _again(request)


def refused(request: Request, database: Database, me: SignedIn, error: KeyscopeError) -> HTMLResponse:
    """The page with the reason for a refusal."""
    wrong = isinstance(error, entrance.WrongPassword)
    problem = "that is not your present password" if wrong else error.detail
    return _page(request, database, me, problem=problem, status=error.status)


def _page(
    request: Request,
    database: Database,
    me: SignedIn,
    *,
    new_token: str | None = None,
    done: str | None = None,
    problem: str | None = None,
    status: int = 200,
) -> HTMLResponse:
    with database.transaction() as session:
        account = people.by_id(session, me.account_id)
        open_sessions = sessions.of_account(session, me.account_id)
        own_tokens = tokens.of_account(session, me.account_id)
    page = AccountPage(
        frame=Frame("Account", Links(request)),
        account=account,
        roles=[role for role in Role if account.role.may(role)],
        lifetimes=list(Lifetime),
        lifetime=TokenForm().lifetime,
        shortest=passwords.SHORTEST,
        provider=ShownProvider.of(account, request.app.state.settings.oidc_issuer),
        sessions=[(each, browser_name(each.browser)) for each in open_sessions],
        this_session=me.session_id,
        tokens=own_tokens,
        new_token=new_token,
        done=done,
        problem=problem,
    )
    return respond(request, "accounts/account.html", page, status, NEVER_STORED)


def _again(request: Request) -> RedirectResponse:
    return see_other(request.url_for("account_page").path)


def browser_name(user_agent: str) -> str:
    """Browser and system, such as `Firefox on Linux`; the user agent itself if the browser is unknown."""
    browser = next((each for each in _BROWSERS if f"{each}/" in user_agent), None)
    system = next((each for each in _SYSTEMS if each in user_agent), None)
    if browser is None:
        return user_agent or "unknown"
    name = _NAMES.get(browser, browser)
    return f"{name} on {system}" if system else name
