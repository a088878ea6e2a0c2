import pytest
from fastapi.testclient import TestClient


@pytest.mark.parametrize(
    ("address", "group", "entry"),
    [
        ("/runs/alpha", "browse", "overview"),
        ("/runs/alpha/layers/1", "browse", "layers"),
        ("/runs/alpha/keys/L1.K3", "browse", "layers"),
        ("/live?run=alpha", "try", "live"),
        ("/runs/alpha/agreement", "evidence", "prediction by layer"),
        ("/runs/alpha/concepts/numpy", "evidence", "concepts"),
        ("/labels?run=alpha", "label", "between people"),
        ("/labels/queue?run=alpha", "label", "queue"),
    ],
)
def test_the_navigation_marks_the_page_one_is_on(reader: TestClient, address: str, group: str, entry: str):
    groups = reader.get(address).context["frame"].links.navigation("alpha")
    assert [each.title for each in groups] == ["browse", "try", "evidence", "label"]
    assert [each.title for each in groups if each.current] == [group]
    assert [each.title for each in groups for each in each.entries if each.current] == [entry]


def test_every_entry_leads_to_a_page_that_marks_it(reader: TestClient):
    for group in reader.get("/runs/alpha").context["frame"].links.navigation("alpha"):
        for entry in group.entries:
            page = reader.get(entry.href)
            assert page.status_code == 200
            assert f'<a href="{entry.href}"\naria-current="page">{entry.title}</a>' in page.text
