"""The basket in an address, and the run with it, come along by every link and every form."""

import html
import re
import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from keyscope.app.settings import Settings
from tests.made.concepts import write_concepts

MASK = "L0.K1:0"
IN_ADDRESS = "mask=L0.K1%3A0"
FIELD = f'<input type="hidden" name="mask" value="{MASK}">'


@pytest.fixture(scope="module")
def module_settings(runs_dir: Path, labels_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two runs of one model, both with concepts."""
    runs = shutil.copytree(runs_dir, tmp_path_factory.mktemp("carried") / "runs")
    write_concepts(runs / "alpha.duckdb", 2, 6)
    shutil.copy(runs / "alpha.duckdb", runs / "beta.duckdb")
    return Settings(runs=runs, database_url=labels_url)


@pytest.fixture
def client(client: TestClient) -> TestClient:
    """Ada."""
    client.headers.update({"X-Keyscope-Person": "Ada", "Accept": "text/html"})
    return client


@pytest.fixture
def listed(client: TestClient) -> str:
    form = {"run": "alpha", "name": "brackets", "keys": "L1.K2 L0.K3"}
    answer = client.post("/lists", data=form, params={"mask": MASK}, follow_redirects=False)
    return str(answer.headers["location"])


def masked(address: str) -> str:
    return f"{address}{'&' if '?' in address else '?'}{IN_ADDRESS}"


def links_of(page: str) -> list[str]:
    return re.findall(r'href="([^"]+)"', html.unescape(page))


@pytest.mark.parametrize(
    "address", ["/runs/alpha/jobs", "/labels/import?run=alpha", "/name?run=alpha", "/runs/alpha/layers/99"]
)
def test_links_carry_the_basket(client: TestClient, address: str) -> None:
    page = client.get(masked(address))
    assert "/live?run=alpha&" + IN_ADDRESS in links_of(page.text)
    assert "/labels?run=alpha" not in links_of(page.text)


def test_a_failure_that_the_basket_is_shows_none(client: TestClient) -> None:
    for address in ("/runs/alpha?mask=x", "/runs/none?mask=L0.K1:0"):
        page = client.get(address)
        assert page.status_code in (404, 422)
        assert "mask=" not in "".join(links_of(page.text))


def test_a_name_given_leads_back_to_the_runs_with_the_basket(client: TestClient) -> None:
    page = client.get("/runs/alpha", params={"mask": MASK})
    (href,) = [link for link in links_of(page.text) if link.startswith("/name")]
    assert f'name="next" value="/?run=alpha&amp;{IN_ADDRESS}"' in client.get(href).text


@pytest.mark.parametrize(
    "address", ["/activity?run=alpha", "/labels?run=alpha", "/runs/alpha/concepts/loops",
                "/runs/alpha/concepts", "/lens?run=alpha", "/activations?run=alpha"],
)  # fmt: skip
def test_forms_that_ask_for_a_page_carry_the_basket(client: TestClient, address: str) -> None:
    for person in ("Ada", "Ben"):
        label = {"kind": "mixed"}
        client.put("/api/v1/runs/alpha/keys/L1.K2/labels", json=label, headers={"X-Keyscope-Person": person})
    main = client.get(masked(address)).text.partition("<main")[2].partition("</main>")[0]
    forms = re.findall(r"<form\b.*?</form>", main, re.DOTALL)
    asking = [form for form in forms if 'method="post"' not in form]
    assert all('action="' + masked(address.partition("?")[0]) not in form for form in asking)
    asking += [form for form in forms if 'formmethod="get"' in form]
    assert asking
    assert all(FIELD in form for form in asking)


def test_the_first_keys_of_a_concept_are_shown_in_the_order_chosen(client: TestClient) -> None:
    page = client.get("/runs/alpha/concepts/loops?sort=hits&order=desc").text
    assert '<input type="hidden" name="sort" value="hits"><input type="hidden" name="order" value="desc">' in page


def test_a_basket_does_not_go_into_the_queue_of_another_run(client: TestClient) -> None:
    for run, kept in (("alpha", True), ("gated", False)):
        query = {"run": run, "mask_run": "alpha", "mask": MASK, "strategy": "sample"}
        answer = client.get("/labels/queue", params=query, follow_redirects=False)
        assert (IN_ADDRESS in answer.headers["location"]) is kept
        assert "mask_run" not in answer.headers["location"]


def test_a_concept_is_saved_and_the_basket_kept(client: TestClient) -> None:
    page = client.get("/runs/alpha/concepts", params={"mask": MASK})
    form = {"name": "mine", "language": "python", "kind": "regex", "pattern": "def"}
    saved = client.post(page.context["form_href"], data=form, follow_redirects=False)
    assert saved.headers["location"] == f"/runs/alpha/concepts/mine?{IN_ADDRESS}"
    assert IN_ADDRESS in client.get(saved.headers["location"]).context["compute_href"]


def test_a_list_keeps_basket_and_run_whatever_is_done_with_it(client: TestClient, listed: str) -> None:
    assert listed == f"/lists/1?run=alpha&{IN_ADDRESS}"
    page = client.get(listed.replace("alpha", "beta"))
    assert page.context["frame"].run.run_id == "beta"
    actions = re.findall(r'<form[^>]* action="([^"]+)"', html.unescape(page.text.partition("<main")[2]))
    assert len(actions) == 5
    entry = f"/lists/1/entry?run=beta&{IN_ADDRESS}"
    assert entry in actions
    done = client.post(entry, data={"key": "L1.K2", "action": "down"}, follow_redirects=False)
    assert done.headers["location"] == f"/lists/1?run=beta&{IN_ADDRESS}"
    live = client.post(f"/lists/1/mask?run=beta&{IN_ADDRESS}", follow_redirects=False)
    assert live.headers["location"].startswith("/live?run=beta&mask=L0.K3")
    away = client.post(f"/lists/1/put-away?run=beta&{IN_ADDRESS}", follow_redirects=False)
    assert away.headers["location"] == f"/lists?run=beta&{IN_ADDRESS}"


def test_a_list_is_shown_with_a_run_of_its_model(client: TestClient, listed: str) -> None:
    page = client.get("/lists/1", params={"run": "gated", "mask": MASK})
    assert page.context["frame"].run.run_id == "alpha"
    assert "mask=" not in "".join(links_of(page.text)), "the basket is another run's"


@pytest.mark.parametrize("address", ["/runs/beta/keys/L1.K2", "/lists?run=beta", "/activity?run=beta"])
def test_links_to_a_list_say_the_run(client: TestClient, listed: str, address: str) -> None:
    page = client.get(masked(address))
    assert f"/lists/1?run=beta&{IN_ADDRESS}" in links_of(page.text)
