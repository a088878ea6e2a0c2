"""Overview and layer pages as places to begin."""

from fastapi.testclient import TestClient


def test_the_overview_keeps_a_place_for_the_papers_claim_until_syntax_is_computed(reader: TestClient) -> None:
    page = reader.get("/runs/alpha")
    assert page.context["claim_figure"] is None
    assert 'href="/runs/alpha/syntax">compute syntax to see it</a>' in page.text


def test_a_layer_names_keys_to_start_with(reader: TestClient) -> None:
    page = reader.get("/runs/alpha/layers/1")
    assert page.context["varied"]
    assert "Start here" in page.text
    for row in (*page.context["clear"], *page.context["varied"]):
        assert row.key.layer == 1


def test_every_page_leads_to_the_documentation_of_the_api(reader: TestClient) -> None:
    assert '<a href="/docs">API</a>' in reader.get("/runs/alpha").text
