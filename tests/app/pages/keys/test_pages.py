"""What holds for every page."""

import dataclasses
import html
import re
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import jinja2.meta
import markupsafe
import pytest
from fastapi.testclient import TestClient

from keyscope.app.analyses.concepts.list_page import ConceptsPage
from keyscope.app.analyses.concepts.page import ConceptPage
from keyscope.app.analyses.edits.page import ConceptEditsPage, EditPage, EditsPage
from keyscope.app.analyses.kinds import KINDS
from keyscope.app.analyses.page import AnalysisPage
from keyscope.app.findings.page import FindingsPage
from keyscope.app.main import create_app
from keyscope.app.pages.accounts.account import AccountPage
from keyscope.app.pages.accounts.names import NamePage
from keyscope.app.pages.accounts.people import PeoplePage
from keyscope.app.pages.accounts.provider import JoiningPage
from keyscope.app.pages.accounts.sign_in import InvitationPage, SignInPage
from keyscope.app.pages.demo.page import DemoPage
from keyscope.app.pages.keys.find import FindPage
from keyscope.app.pages.keys.home import HomePage
from keyscope.app.pages.keys.key import KeyPage
from keyscope.app.pages.keys.label_changes import ConflictPage
from keyscope.app.pages.keys.layer import LayerPage
from keyscope.app.pages.keys.overview import OverviewPage
from keyscope.app.pages.keys.search import SearchPage
from keyscope.app.pages.labels.activity import ActivityPage
from keyscope.app.pages.labels.codebook import CodebookPage
from keyscope.app.pages.labels.label_import import ImportPage
from keyscope.app.pages.labels.lists import ListPage, ListsPage
from keyscope.app.pages.labels.page import DecidedPage, LabelsPage
from keyscope.app.pages.labels.queue_page import LastPage, QueuePage, StartPage
from keyscope.app.pages.live.activations import ActivationsPage
from keyscope.app.pages.live.jobs import JobsPage
from keyscope.app.pages.live.lens import LensPage
from keyscope.app.pages.live.page import LivePage
from keyscope.app.settings import Settings
from keyscope.app.web.error_pages import ErrorPage
from keyscope.app.web.render import TEMPLATES, Help, Page, environment

PAGES: list[tuple[str, str, type[Page]]] = [
    ("/", "keys/home.html", HomePage),
    ("/find?q=return&run=alpha", "keys/find.html", FindPage),
    ("/runs/alpha", "keys/overview.html", OverviewPage),
    ("/runs/alpha/layers/1", "keys/layer.html", LayerPage),
    ("/runs/alpha/layers/1?fires_on=self&columns=weights&sort=bias", "keys/layer.html", LayerPage),
    ("/runs/alpha/search?fires_on=return&ranges=mean::5&mask=L0.K1:0.5", "keys/search.html", SearchPage),
    ("/runs/gated/search", "keys/search.html", SearchPage),
    ("/runs/alpha/keys/L1.K3", "keys/key.html", KeyPage),
    ("/runs/gated/keys/L2.K0?language=go&show=min&projection=raw&mask=L0.K1:0.5", "keys/key.html", KeyPage),
    ("/demo?run=alpha", "demo/demo.html", DemoPage),
    ("/live?run=alpha&prompt=def&mask=L0.K1:0", "live/live.html", LivePage),
    ("/lens?run=alpha&mask=L0.K1:0", "live/lens.html", LensPage),
    ("/activations?run=alpha&mask=L0.K1:0", "live/activations.html", ActivationsPage),
    ("/runs/alpha/agreement", "analyses/layer_agreement.html", AnalysisPage),
    ("/runs/alpha/firing", "analyses/firing.html", AnalysisPage),
    ("/runs/alpha/syntax", "analyses/syntax.html", AnalysisPage),
    ("/runs/alpha/concepts", "analyses/concepts.html", ConceptsPage),
    ("/runs/alpha/concepts/numpy?mask=L0.K1:0.5", "analyses/concept.html", ConceptPage),
    ("/runs/alpha/edits", "analyses/edits.html", EditsPage),
    ("/runs/alpha/findings?mask=L0.K1:0.5", "analyses/findings.html", FindingsPage),
    ("/runs/alpha/jobs", "live/jobs.html", JobsPage),
    ("/runs/nowhere", "error.html", ErrorPage),
    ("/name", "accounts/name.html", NamePage),
    ("/sign-in", "accounts/sign_in.html", SignInPage),
    ("/invitation?name=Ben", "accounts/invitation.html", InvitationPage),
    ("/account", "accounts/account.html", AccountPage),
    ("/people", "accounts/people.html", PeoplePage),
    ("/labels", "labels/labels.html", LabelsPage),
    ("/labels/import", "labels/import.html", ImportPage),
    ("/labels?run=gated&mask=L0.K1:0.5", "labels/labels.html", LabelsPage),
    ("/lists?run=alpha&mask=L0.K1:0.5", "labels/lists.html", ListsPage),
    ("/activity?run=alpha", "labels/activity.html", ActivityPage),
    ("/labels/codebook?run=alpha", "labels/codebook.html", CodebookPage),
    ("/labels/queue", "labels/queue_start.html", StartPage),
    ("/labels/queue?run=alpha&strategy=sample&blind=true&key=L1.K3&mask=L0.K1:0.5", "labels/queue.html", QueuePage),
]
AFTER_A_FORM: list[tuple[str, type[Page]]] = [
    ("analyses/concept_edits.html", ConceptEditsPage),
    ("analyses/edit.html", EditPage),
    ("accounts/joining.html", JoiningPage),
    ("keys/label_conflict.html", ConflictPage),
    ("labels/list.html", ListPage),
    ("labels/queue_last.html", LastPage),
    ("labels/decided.html", DecidedPage),
]
"""Pages that need a form sent or an analysis computed, drawn by the tests of their rooms."""
UNDER_A_NAME = ("labels/import.html", "labels/queue.html")
WHERE_PEOPLE_SIGN_IN = {
    "accounts/sign_in.html": "stranger",
    "accounts/invitation.html": "stranger",
    "accounts/account.html": "admin",
    "accounts/people.html": "admin",
}
EVERY_PAGE = pytest.mark.parametrize(("address", "template", "context"), PAGES, ids=[page[0] for page in PAGES])


@pytest.fixture
def reader(request: pytest.FixtureRequest, reader: TestClient) -> TestClient:
    """Who sees the page that a test is about."""
    template = getattr(request.node, "callspec", None) and request.node.callspec.params.get("template")
    if template in UNDER_A_NAME:
        return TestClient(reader.app, headers={"X-Keyscope-Person": "Ada"})
    name = WHERE_PEOPLE_SIGN_IN.get(template)
    return request.getfixturevalue(name) if name else reader


@EVERY_PAGE
def test_a_page_has_a_title_and_a_main_part(
    reader: TestClient, address: str, template: str, context: type[Page]
) -> None:
    page = reader.get(address).text
    assert re.search(r"<title>[^<]+ · Keyscope</title>", page)
    assert page.count("<main") == 1
    assert page.count("<h1") == 1


@EVERY_PAGE
def test_a_template_receives_exactly_the_fields_of_its_context(
    reader: TestClient, address: str, template: str, context: type[Page]
) -> None:
    answer = reader.get(address)
    assert answer.template.name == template
    assert set(answer.context) == {field.name for field in dataclasses.fields(context)} | {"request"}


@pytest.mark.parametrize(
    "context", dict.fromkeys(page[-1] for page in [*PAGES, *AFTER_A_FORM]), ids=lambda context: context.__name__
)
def test_every_field_of_a_context_says_what_it_is(context: type[Page]) -> None:
    for name, hint in get_type_hints(context, include_extras=True).items():
        assert get_origin(hint) is Annotated, f"{context.__name__}.{name} has no Help"
        assert any(isinstance(note, Help) and note.text for note in get_args(hint)[1:])


@pytest.mark.parametrize(("template", "context"), dict.fromkeys([*(page[1:] for page in PAGES), *AFTER_A_FORM]))
def test_a_template_asks_for_nothing_but_its_context(template: str, context: type[Page]) -> None:
    env = environment()
    wanted = jinja2.meta.find_undeclared_variables(env.parse((TEMPLATES / template).read_text()))
    assert wanted <= {field.name for field in dataclasses.fields(context)} | {"range"}


@EVERY_PAGE
def test_htmx_gets_the_main_part_alone(reader: TestClient, address: str, template: str, context: type[Page]) -> None:
    page, fragment = reader.get(address), reader.get(address, headers={"HX-Request": "true"})
    assert all(answer.headers["Vary"].split(", ")[0] == "HX-Request" for answer in (page, fragment))
    assert page.status_code == fragment.status_code
    assert "<!doctype" not in fragment.text
    assert _words(fragment.text) in _words(page.text)


@EVERY_PAGE
def test_a_page_has_no_inline_style_script_or_handler(
    reader: TestClient, address: str, template: str, context: type[Page]
) -> None:
    page = reader.get(address).text
    tags = re.findall(r"<[a-z][^>]*>", re.sub(r'"[^"]*"', '""', page))
    assert not [tag for tag in tags if re.search(r"\s(style|on[a-z]+)=", tag)]
    assert "<style" not in page
    assert all("src=" in tag for tag in tags if tag.startswith("<script"))


def test_every_template_is_a_page_or_is_included_by_one() -> None:
    sources = {str(path.relative_to(TEMPLATES)): path.read_text() for path in Path(TEMPLATES).rglob("*.html")}
    drawn = {page[-2] for page in [*PAGES, *AFTER_A_FORM]} | {"base.html", "docs.html", "live/outcome.html"}
    drawn |= {"demo/presenter.html", "demo/measured.html"}
    drawn |= {f"keys/{part}.html" for part in ("card", "prediction", "tried", "similar")}
    drawn |= {kind.key_part.template for kind in KINDS if kind.key_part}
    drawn |= {f"analyses/sketches/{kind.name}.html" for kind in KINDS}
    for name in sources:
        included = any(f'"{name}"' in source for source in sources.values())
        assert name in drawn or (Path(name).name.startswith("_") and included), f"nothing draws {name}"


def test_hostile_text_of_the_corpus_is_escaped(reader: TestClient) -> None:
    seen = ""
    for index in range(6):
        for layer in range(2):
            seen += reader.get(f"/runs/alpha/keys/L{layer}.K{index}?language=python").text
    assert "<img" not in seen
    assert "</script><b>" not in seen
    assert markupsafe.escape('web/<img src=x onerror="alert(1)">.py') in seen


def test_hostile_addresses_are_escaped(reader: TestClient) -> None:
    hostile = '"><script>alert(1)</script>'
    for address in ("/find", "/live", "/runs/alpha/layers/0", "/runs/alpha/keys/L0.K0"):
        for name in ("q", "run", "prompt", "fires_on", "mask", "language", "sort", "add"):
            page = reader.get(address, params={name: hostile}).text
            assert "<script>alert" not in page, f"{address}?{name}="


def test_the_basket_is_carried_to_every_page_of_its_run(reader: TestClient) -> None:
    page = reader.get("/runs/alpha/keys/L1.K3?mask=L0.K1:0.5").text
    links = [html.unescape(link) for link in re.findall(r'<a [^>]*href="([^"]+)"', page)]
    ours = [link for link in links if (link.startswith("/runs/alpha") and "export" not in link) or "/live" in link]
    assert ours
    assert all("mask=L0.K1%3A0.5" in link for link in ours)
    home = next(link for link in links if link.startswith("/?"))
    back = [html.unescape(link) for link in re.findall(r'href="(/runs/[^"]+)"', reader.get(home).text)]
    assert "/runs/alpha?mask=L0.K1%3A0.5" in back
    assert "/runs/gated" in back


def test_every_address_begins_with_the_prefix_of_a_reverse_proxy(settings: Settings) -> None:
    with TestClient(create_app(settings.model_copy(update={"root_path": "/keys"}))) as client:
        page = client.get("/keys/runs/alpha/layers/0").text
    links = re.findall(r'(?:href|src|action|hx-get|data-figure|data-open)="([^"#]+)"', page)
    assert links
    assert all(link.startswith("/keys/") for link in links)


@pytest.mark.parametrize(
    ("address", "status", "shown"),
    [
        ("/runs/nowhere", 404, "alpha"),
        ("/runs/alpha/layers/9", 404, "0 to 1"),
        ("/runs/alpha/keys/L0.K99", 404, "L0.K5"),
        ("/runs/alpha/keys/nonsense", 422, "L5.K312"),
        ("/runs/alpha/keys/L0.K0?mask=L0.K0:much", 422, "write a number such as 0.5"),
        ("/runs/alpha/keys/L0.K0?language=cobol", 422, "python, java, go"),
        ("/runs/alpha/layers/0?sort=colour", 422, "maximum"),
        ("/runs/alpha/layers/0?offset=-1", 422, "offset"),
        ("/runs/alpha/layers/0?offset=99999999999999999999", 422, "offset"),
        ("/activity?before=1.label.99999999999999999999999999", 422, "not a position in the activity"),
        ("/nothing/here", 404, "Not Found"),
    ],
)
def test_a_failure_is_a_page_that_says_what_there_is(reader: TestClient, address: str, status: int, shown: str) -> None:
    answer = reader.get(address, headers={"Accept": "text/html"})
    assert answer.status_code == status
    assert shown in html.unescape(answer.text)
    assert 'id="error"' in answer.text


def test_an_error_takes_the_place_of_whatever_htmx_asked_for(reader: TestClient) -> None:
    answer = reader.get("/runs/alpha/layers/0?sort=colour", headers={"HX-Request": "true"})
    assert answer.headers["HX-Reselect"] == "#error"
    assert "<!doctype" not in answer.text


def _words(text: str) -> str:
    return " ".join(text.split())
