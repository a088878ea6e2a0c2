"""`/people`: everyone with an account, for admins."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from keyscope.app.accounts import invitations, people
from keyscope.app.accounts.identity import AtBrowser, needs
from keyscope.app.accounts.models import Account
from keyscope.app.database.engine import Database
from keyscope.app.roles import Role
from keyscope.app.web.dependencies import LabelsDatabase, RowId
from keyscope.app.web.forms import FormModel, see_other
from keyscope.app.web.links import Links
from keyscope.app.web.render import NEVER_STORED, Frame, Help, Page, respond
from keyscope.contract.errors import KeyscopeError

router = APIRouter(prefix="/people", dependencies=[needs(Role.ADMIN)])


@dataclass(frozen=True, slots=True)
class NewInvitation:
    """An invitation just made."""

    name: str
    link: str
    days: int


@dataclass(frozen=True, slots=True)
class PeoplePage(Page):
    people: Annotated[list[tuple[Account, str]], Help("Everyone with an account, by name, and how they sign in")]
    roles: Annotated[list[Role], Help("Roles to choose from")]
    invitation: Annotated[NewInvitation | None, Help("An invitation just created; its link is shown only now")]
    problem: Annotated[str | None, Help("Why a change failed")]


class PersonForm(FormModel):
    name: str = ""
    role: Role = Role.VIEWER


class RoleForm(FormModel):
    role: Role


@router.get("", name="people_page")
def people_page(request: Request, database: LabelsDatabase) -> HTMLResponse:
    """Everyone with an account."""
    return _page(request, database)


@router.post("", name="add_person")
def add_person(
    request: Request, form: Annotated[PersonForm, Form()], database: LabelsDatabase, me: AtBrowser
) -> HTMLResponse:
    """Create an account and show its invitation link once."""
    return _invite(request, database, lambda session: people.add(session, form.name, form.role))


@router.post("/{person}/invitation", name="invite_person")
def invite_person(request: Request, person: RowId, database: LabelsDatabase, me: AtBrowser) -> HTMLResponse:
    """Show a new invitation link once; the person sets a new password with it."""
    return _invite(request, database, lambda session: people.by_id(session, person))


@router.post("/{person}/role", name="set_role")
def set_role(
    request: Request,
    person: RowId,
    form: Annotated[RoleForm, Form()],
    database: LabelsDatabase,
    me: AtBrowser,
) -> Response:
    """Change a role."""
    return _change(request, database, person, lambda session, account: people.set_role(session, account, form.role))


@router.post("/{person}/disable", name="disable_person")
def disable_person(request: Request, person: RowId, database: LabelsDatabase, me: AtBrowser) -> Response:
    """Disable an account."""
    return _change(request, database, person, people.disable)


@router.post("/{person}/enable", name="enable_person")
def enable_person(request: Request, person: RowId, database: LabelsDatabase, me: AtBrowser) -> Response:
    """Enable an account again."""
    return _change(request, database, person, lambda session, account: people.enable(account))


def _invite(request: Request, database: Database, choose: Callable[[Session], Account]) -> HTMLResponse:
    def invite(session: Session) -> tuple[Account, str]:
        account = choose(session)
        return account, invitations.invite(session, account)

    try:
        account, code = database.write(invite)
    except KeyscopeError as error:
        return _page(request, database, problem=error)
    link = invitations.link(str(request.url_for("invitation_page")), account.name, code)
    return _page(request, database, NewInvitation(account.name, link, invitations.LASTS.days))


def _change(request: Request, database: Database, person: int, change: Callable[[Session, Account], None]) -> Response:
    try:
        database.write(lambda session: change(session, people.by_id(session, person)))
    except KeyscopeError as error:
        return _page(request, database, problem=error)
    return see_other(request.url_for("people_page").path)


def _page(
    request: Request,
    database: Database,
    invitation: NewInvitation | None = None,
    problem: KeyscopeError | None = None,
) -> HTMLResponse:
    with database.transaction() as session:
        everyone = [(account, _signs_in(account)) for account in people.everyone(session)]
    page = PeoplePage(
        frame=Frame("People", Links(request)),
        people=everyone,
        roles=list(Role),
        invitation=invitation,
        problem=problem.detail if problem else None,
    )
    return respond(request, "accounts/people.html", page, problem.status if problem else 200, NEVER_STORED)


def _signs_in(account: Account) -> str:
    if account.disabled_at:
        return "disabled"
    ways = [way for way, has in (("a password", account.password_hash), ("the provider", account.issuer)) if has]
    return f"with {' or '.join(ways)}" if ways else "not yet: invited"
