from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient
from starlette.routing import NoMatchFound

from keyscope.app.web.addresses import Addresses


@pytest.fixture
def addresses(reader: TestClient) -> Addresses:
    found: Addresses = reader.app.state.addresses  # type: ignore[attr-defined]
    return found


def test_parameters_outside_the_path_go_into_the_query(addresses: Addresses):
    assert addresses.find("run_page", {"run": "alpha", "mask": "L0.K1:0"}) == "/runs/alpha?mask=L0.K1%3A0"


def test_parameters_without_a_value_are_left_out(addresses: Addresses):
    assert addresses.find("run_page", {"run": "alpha", "mask": "", "sort": None, "offset": 0}) == "/runs/alpha?offset=0"


@pytest.mark.parametrize("text", ["plain_0.-~", " return\n", "a+b&c=d%20#?/", "naïve 数字", "\\xe2", "ſK"])
def test_a_query_is_written_as_by_the_standard_library(addresses: Addresses, text: str):
    assert addresses.find("run_page", {"run": "alpha", "q": text, "at": 7, "all": True}) == "/runs/alpha?" + urlencode(
        {"q": text, "at": 7, "all": True}
    )


def test_what_is_typed_stays_within_its_part_of_the_path(addresses: Addresses):
    assert addresses.find("run_page", {"run": "a#b?c/d"}) == "/runs/a%23b%3Fc%2Fd"
    assert addresses.find("static", {"path": "css/a b.css"}) == "/static/css/a%20b.css"


@pytest.mark.parametrize(
    ("name", "path"), [("start_job", "/runs/alpha/jobs"), ("cancel_job", "/runs/alpha/jobs/one/cancel")]
)
def test_of_a_page_and_an_endpoint_of_one_name_the_page_is_found_by_its_run(addresses: Addresses, name: str, path: str):
    assert addresses.find(name, {"run": "alpha", "job": "one"}).partition("?")[0] == path


def test_a_name_without_a_route_that_fits_is_refused(addresses: Addresses):
    for name, parameters in (("no_page", {}), ("run_page", {})):
        with pytest.raises(NoMatchFound):
            addresses.find(name, dict(parameters))
