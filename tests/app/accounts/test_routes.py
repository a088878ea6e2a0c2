"""Who may use which route: every route is declared here, and each is tried by a stranger and by every role."""

import re

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from httpx2 import Response

from keyscope.app.main import create_app
from keyscope.app.roles import Role
from keyscope.app.settings import Settings
from tests.app.accounts.office import Office

EVERYBODY = """
GET /healthz
GET /invitation
POST /invitation
GET /sign-in
POST /sign-in
GET /sign-in/provider
GET /sign-in/provider/return
GET /static
"""
VIEWERS = """
GET /
GET /account
POST /account/password
POST /account/provider/join
POST /account/provider/part
POST /account/sessions/end
POST /account/sessions/{session}/end
POST /account/tokens
POST /account/tokens/{token}/revoke
GET /activity
GET /docs
GET /find
GET /labels
GET /labels/codebook
GET /labels/figures/kinds
GET /labels/queue
GET /lists
GET /lists/{list}
GET /openapi.json
GET /runs/{run}
GET /runs/{run}/agreement
GET /runs/{run}/agreement/figures/{figure}
GET /runs/{run}/concepts
GET /runs/{run}/concepts/{concept}
GET /runs/{run}/concepts/{concept}/edits
GET /runs/{run}/concepts/{concept}/figures/{figure}
GET /runs/{run}/edits
GET /runs/{run}/edits/{edit}
GET /runs/{run}/edits/{edit}/figures/{figure}
GET /runs/{run}/figures/{measure}
GET /runs/{run}/findings
GET /runs/{run}/firing
GET /runs/{run}/firing/figures/{figure}
GET /runs/{run}/jobs
GET /runs/{run}/keys/{key}
GET /runs/{run}/keys/{key}/card
GET /runs/{run}/keys/{key}/events
GET /runs/{run}/keys/{key}/examples/{name}/live
GET /runs/{run}/keys/{key}/similar
GET /runs/{run}/layers/{layer}
GET /runs/{run}/layers/{layer}/map
GET /runs/{run}/random
GET /runs/{run}/search
GET /runs/{run}/syntax
GET /runs/{run}/syntax/figures/{figure}
POST /sign-out
GET /api/v1/activity
GET /api/v1/baskets/{basket}
GET /api/v1/codebook
GET /api/v1/export/runs
GET /api/v1/jobs
GET /api/v1/jobs/{job}
GET /api/v1/labels/export
GET /api/v1/lists
GET /api/v1/lists/{list}
GET /api/v1/me
GET /api/v1/runs
GET /api/v1/runs/{run}
GET /api/v1/runs/{run}/agreement
GET /api/v1/runs/{run}/concepts
GET /api/v1/runs/{run}/concepts/{name}
GET /api/v1/runs/{run}/edits
GET /api/v1/runs/{run}/edits/{edit}
GET /api/v1/runs/{run}/edits/{edit}/recipe.json
GET /api/v1/runs/{run}/edits/{edit}/sites
GET /api/v1/runs/{run}/export/analyses/{table}
GET /api/v1/runs/{run}/export/keys/{key}/{table}
GET /api/v1/runs/{run}/export/layers
GET /api/v1/runs/{run}/export/layers/{layer}/keys
GET /api/v1/runs/{run}/export/search
GET /api/v1/runs/{run}/export/{choice}-keys
GET /api/v1/runs/{run}/file
GET /api/v1/runs/{run}/findings
GET /api/v1/runs/{run}/firing
GET /api/v1/runs/{run}/keys/{key}
GET /api/v1/runs/{run}/keys/{key}/adjudications
GET /api/v1/runs/{run}/keys/{key}/comments
GET /api/v1/runs/{run}/keys/{key}/comments/{comment}/versions
GET /api/v1/runs/{run}/keys/{key}/firing
GET /api/v1/runs/{run}/keys/{key}/labels
GET /api/v1/runs/{run}/keys/{key}/syntax
GET /api/v1/runs/{run}/labels/agreement
GET /api/v1/runs/{run}/labels/disagreements
GET /api/v1/runs/{run}/layers
GET /api/v1/runs/{run}/layers/{layer}/keys
GET /api/v1/runs/{run}/lists
GET /api/v1/runs/{run}/search
GET /api/v1/runs/{run}/syntax
GET /api/v1/runs/{run}/tags
"""
LABELERS = """
GET /activations
GET /demo
GET /demo/measured
POST /labels/queue
POST /labels/queue/start
POST /labels/queue/undo
GET /lens
POST /lists
POST /lists/{list}
POST /lists/{list}/entry
POST /lists/{list}/keys
POST /lists/{list}/mask
POST /lists/{list}/put-away
POST /lists/{list}/restore
GET /live
GET /runs/{run}/keys/{key}/examples/{name}/prediction
GET /runs/{run}/keys/{key}/neighbours
GET /runs/{run}/keys/{key}/try
POST /live
POST /live/masks
POST /live/outcome
POST /runs/{run}/concepts
POST /runs/{run}/concepts/compute
POST /runs/{run}/concepts/{concept}/edits
POST /runs/{run}/concepts/{concept}/try
POST /runs/{run}/edits/{edit}/try
POST /runs/{run}/jobs
POST /runs/{run}/jobs/{job}/cancel
POST /runs/{run}/keys/{key}/comments
POST /runs/{run}/keys/{key}/comments/{comment}/change
POST /runs/{run}/keys/{key}/comments/{comment}/delete
POST /runs/{run}/keys/{key}/label
POST /runs/{run}/keys/{key}/lists
POST /api/v1/baskets
POST /api/v1/jobs
DELETE /api/v1/jobs/{job}
DELETE /api/v1/lists/{list}
PATCH /api/v1/lists/{list}
POST /api/v1/lists/{list}/keys
DELETE /api/v1/lists/{list}/keys/{key}
PUT /api/v1/lists/{list}/keys/{key}/note
PUT /api/v1/lists/{list}/keys/{key}/place
POST /api/v1/lists/{list}/restore
POST /api/v1/live/activations
POST /api/v1/live/coefficients
POST /api/v1/live/generate
POST /api/v1/live/keys/neighbours
POST /api/v1/live/lens
POST /api/v1/live/next
GET /api/v1/live/status
POST /api/v1/runs/{run}/concepts
POST /api/v1/runs/{run}/keys/{key}/comments
DELETE /api/v1/runs/{run}/keys/{key}/comments/{comment}
PUT /api/v1/runs/{run}/keys/{key}/comments/{comment}
DELETE /api/v1/runs/{run}/keys/{key}/labels
PUT /api/v1/runs/{run}/keys/{key}/labels
POST /api/v1/runs/{run}/keys/{key}/labels/undo
DELETE /api/v1/runs/{run}/keys/{key}/lease
PUT /api/v1/runs/{run}/keys/{key}/lease
PUT /api/v1/runs/{run}/keys/{key}/skip
POST /api/v1/runs/{run}/lists
POST /api/v1/runs/{run}/queue
"""
ADMINS = """
GET /labels/import
GET /metrics
GET /people
POST /people
POST /people/{person}/disable
POST /people/{person}/enable
POST /people/{person}/invitation
POST /people/{person}/role
POST /labels/codebook
POST /labels/decisions
POST /labels/import
POST /runs/{run}/keys/{key}/decisions
PUT /api/v1/codebook
POST /api/v1/labels/import
POST /api/v1/runs/{run}/keys/{key}/adjudications
"""
BY_WORKERS = {"PUT /api/v1/workers"}
"""Routes for live workers, which have the token that they share with the server, and no role."""
ENDLESS = {"GET /runs/{run}/keys/{key}/events"}
"""Streams that never end by themselves: only tried by people who must be refused."""

DECLARED: dict[str, Role | None] = {
    route: role
    for role, routes in ((None, EVERYBODY), (Role.VIEWER, VIEWERS), (Role.LABELER, LABELERS), (Role.ADMIN, ADMINS))
    for route in routes.split("\n")
    if route
}
NAMES = {Role.VIEWER: "Vic", Role.LABELER: "Lea", Role.ADMIN: "Ada"}
VALUES = {"run": "alpha", "key": "L0.K0", "layer": "0"}
"""Values of path parameters; all others get an id that does not exist."""


def routes(app: FastAPI) -> set[str]:
    found = set()
    for route in iter_route_contexts(app.routes):
        for method in route.methods or {"GET"}:
            if method not in ("HEAD", "OPTIONS"):
                found.add(f"{method} {route.path}")
    return found


def ask(office: Office, route: str, role: Role | None) -> Response:
    method, path = route.split(" ")
    filled = re.sub(r"\{(\w+)\}", lambda name: VALUES.get(name[1], "9999"), path)
    client = office.stranger() if role is None else office.browser(NAMES[role])
    return client.request(method, filled)


def turned_away(answer: Response) -> bool:
    """Whether access was refused, for lack of either a session or a role."""
    to_sign_in = (
        answer.headers.get("location", "").startswith("/sign-in?") or answer.headers.get("location") == "/sign-in"
    )
    return answer.status_code == 401 or to_sign_in or (answer.status_code == 403 and "ask an admin" in answer.text)


def test_every_route_is_declared_here_with_its_least_role():
    app = create_app(Settings(accounts="accounts"))
    undeclared, gone = routes(app) - BY_WORKERS - DECLARED.keys(), DECLARED.keys() - routes(app)
    assert (undeclared, gone) == (set(), set()), "declare each route under the least role that may use it"


def test_changes_need_a_labeler_unless_they_concern_ones_own_account():
    own = ("/account", "/sign-out", "/sign-in", "/invitation")
    for route, role in DECLARED.items():
        method, path = route.split(" ")
        if method != "GET" and not path.startswith(own):
            assert role in (Role.LABELER, Role.ADMIN), route


@pytest.mark.parametrize("who", [None, *Role], ids=lambda role: role or "stranger")
def test_a_route_admits_exactly_the_roles_it_is_for(office: Office, who: Role | None):
    wrong = []
    for route, least in DECLARED.items():
        allowed = least is None or (who is not None and who.may(least))
        # Signing out also redirects to the sign-in form.
        if (allowed and route in ENDLESS) or (allowed and route == "POST /sign-out"):
            continue
        answer = ask(office, route, who)
        if turned_away(answer) is allowed:
            wrong.append(f"{route}: {answer.status_code}, {'for' if allowed else 'not for'} a {who or 'stranger'}")
    assert wrong == []


def test_a_viewer_sees_the_queues_but_is_given_no_key(office: Office):
    queue = "/labels/queue?run=alpha&strategy=sample"
    assert turned_away(office.browser("Vic").get(queue))
    assert not turned_away(office.browser("Lea").get(queue))


def test_only_admins_are_offered_a_form_for_the_codebook(office: Office):
    for name, may in (("Ada", True), ("Lea", False), ("Vic", False)):
        assert ("edit</summary>" in office.browser(name).get("/labels/codebook?run=alpha").text) is may


@pytest.mark.parametrize("who", [Role.VIEWER, Role.LABELER])
def test_a_program_gets_no_further_than_its_person(office: Office, who: Role):
    program = office.program(NAMES[who], who)
    wrong = []
    for route, least in DECLARED.items():
        method, path = route.split(" ")
        if path.startswith("/api") and least is not None and not who.may(least):
            filled = re.sub(r"\{(\w+)\}", lambda name: VALUES.get(name[1], "9999"), path)
            if not turned_away(program.request(method, filled)):
                wrong.append(route)
    assert wrong == []


@pytest.mark.parametrize(
    "path",
    ["/static/../api/v1/runs", "/static/%2e%2e/api/v1/runs", "//api/v1/runs", "/sign-in/../runs/alpha", "/healthz/../metrics",
     "/sign-inx", "/staticx", "/invitation/../people", "/API/v1/runs", "/api/v1/runs/"],
)  # fmt: skip
def test_no_spelling_of_an_address_gets_a_stranger_past_the_door(office: Office, path: str):
    answer = office.stranger().get(path)
    assert turned_away(answer) or answer.status_code == 404
    assert "alpha" not in answer.text


@pytest.mark.parametrize("path", ["/sign-inx", "/staticx/a.css", "/healthz2", "/invitations", "/accounts", "/nothing"])
def test_an_address_that_begins_like_an_open_one_is_not_open(office: Office, path: str):
    assert turned_away(office.stranger().get(path))
