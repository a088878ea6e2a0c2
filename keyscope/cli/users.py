"""`keyscope users`: who may sign in, and what they may do."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from keyscope.app.roles import Role
from keyscope.app.settings import Settings as ServerSettings
from keyscope.cli.db import open_labels
from keyscope.cli.options import DatabaseUrl, Json, fill, print_json

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

group = typer.Typer(help="Who may sign in, and what they may do.", no_args_is_help=True)
PersonName = Annotated[str, typer.Argument(metavar="NAME", help="The person's name, as shown on labels")]


@group.command("add")
def add_user(
    name: PersonName,
    role: Annotated[Role, typer.Option(help="What the person may do")] = Role.LABELER,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input")
    ] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Create an account with a password of your choice."""
    from keyscope.app.accounts import people
    from keyscope.app.accounts.passwords import hash_password

    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    hashed = hash_password(password)
    with open_labels(database_url) as labels:
        account = labels.write(lambda session: people.add(session, name, role, hashed))
    typer.echo(f"{account.name} may sign in as {account.role}")


@group.command("invite")
def invite_user(
    name: PersonName,
    role: Annotated[Role, typer.Option(help="Role of a person who has no account yet")] = Role.LABELER,
    url: Annotated[
        str | None, typer.Option(help="Address at which people open Keyscope; otherwise the server's own")
    ] = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Print a one-time link to choose a password; creates the account if there is none."""
    from keyscope.app.accounts import invitations, people

    settings = fill(ServerSettings, database_url=database_url)
    base = url or f"http://{settings.host}:{settings.port}{settings.root_path}"

    def invite(session: "Session") -> tuple[str, str]:
        account = people.find(session, name) or people.add(session, name, role)
        return account.name, invitations.invite(session, account)

    with open_labels(database_url) as labels:
        invited, code = labels.write(invite)
    typer.echo(invitations.link(f"{base.rstrip('/')}/invitation", invited, code))


@group.command("list")
def list_users(database_url: DatabaseUrl = None, as_json: Json = False) -> None:
    """List the accounts."""
    from keyscope.app.accounts import people

    with open_labels(database_url) as labels:
        accounts = labels.read(people.everyone)
    if as_json:
        print_json(
            people=[{"name": each.name, "role": each.role, "disabled": bool(each.disabled_at)} for each in accounts]
        )
        return
    if not accounts:
        typer.echo("there are no accounts yet: create one with `keyscope users add NAME`", err=True)
    for each in accounts:
        typer.echo(f"{each.role:8}  {each.name}{'  (disabled)' if each.disabled_at else ''}")


@group.command("role")
def change_role(name: PersonName, role: Role, database_url: DatabaseUrl = None) -> None:
    """Change a person's role."""
    from keyscope.app.accounts import people

    with open_labels(database_url) as labels:
        labels.write(lambda session: people.set_role(session, people.get(session, name), role))


@group.command("disable")
def disable_user(name: PersonName, database_url: DatabaseUrl = None) -> None:
    """Stop a person from signing in; sessions and tokens end, labels stay."""
    from keyscope.app.accounts import people

    with open_labels(database_url) as labels:
        labels.write(lambda session: people.disable(session, people.get(session, name)))


@group.command("enable")
def enable_user(name: PersonName, database_url: DatabaseUrl = None) -> None:
    """Allow a person to sign in again."""
    from keyscope.app.accounts import people

    with open_labels(database_url) as labels:
        labels.write(lambda session: people.enable(people.get(session, name)))
