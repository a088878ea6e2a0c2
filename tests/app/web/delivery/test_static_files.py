import os
import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from keyscope.app.web.delivery.static_files import VersionedFiles

PLAIN, GZIPPED, BROTLI = "function plain() {}", "as gzip", "as brotli"
OTHER = "0123456789abcdef"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "js").mkdir()
    (tmp_path / "js" / "ours.js").write_text("ours")
    (tmp_path / "vendor.js").write_text(PLAIN)
    (tmp_path / "vendor.js.gz").write_text(GZIPPED)
    (tmp_path / "vendor.js.br").write_text(BROTLI)
    return tmp_path


@pytest.fixture
def files(folder: Path) -> VersionedFiles:
    return VersionedFiles(folder)


@pytest.fixture
def browser(files: VersionedFiles) -> TestClient:
    app = FastAPI()
    app.mount("/static", files)
    return TestClient(app)


def test_a_file_is_kept_forever_at_the_address_of_its_version(browser: TestClient, files: VersionedFiles):
    answer = browser.get(f"/static/{files.version}/js/ours.js")
    assert (answer.status_code, answer.text) == (200, "ours")
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize("address", [f"{OTHER}/js/ours.js", "js/ours.js"])
def test_without_the_present_version_the_file_is_there_and_asked_for_each_time(browser: TestClient, address: str):
    answer = browser.get(f"/static/{address}")
    assert (answer.status_code, answer.text, answer.headers["Cache-Control"]) == (200, "ours", "no-cache")
    again = browser.get(f"/static/{address}", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.headers["Cache-Control"]) == (304, "no-cache")


def test_a_version_is_no_way_out_of_the_folder(browser: TestClient, files: VersionedFiles, folder: Path):
    (folder.parent / "secret.txt").write_text("secret")
    for way in ("../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt"):
        assert browser.get(f"/static/{files.version}/{way}").status_code == 404


def test_the_version_depends_on_what_the_files_hold_and_not_on_their_times(folder: Path, tmp_path_factory):
    same, changed = tmp_path_factory.mktemp("same"), tmp_path_factory.mktemp("changed")
    for copy in (same, changed):
        (copy / "js").mkdir()
        for path in folder.rglob("*.*"):
            (copy / path.relative_to(folder)).write_bytes(path.read_bytes())
    os.utime(same / "vendor.js", (0, 0))
    (changed / "js" / "ours.js").write_text("ours, mended")
    version = VersionedFiles(folder).version
    assert VersionedFiles(same).version == version
    assert VersionedFiles(changed).version != version


@pytest.mark.parametrize(
    ("accepted", "encoding", "text"),
    [
        ("gzip, deflate, br, zstd", "br", BROTLI),
        ("br;q=0.5, gzip;q=0", "br", BROTLI),
        ("gzip, br;q=0", "gzip", GZIPPED),
        ("GZIP", "gzip", GZIPPED),
        ("gzip;q=0.0", None, PLAIN),
        ("", None, PLAIN),
    ],
)
def test_a_compressed_copy_is_sent_to_those_who_accept_it(
    browser: TestClient, accepted: str, encoding: str | None, text: str
):
    with browser.stream("GET", "/static/vendor.js", headers={"Accept-Encoding": accepted}) as answer:
        assert b"".join(answer.iter_raw()) == text.encode()
    assert answer.headers.get("Content-Encoding") == encoding
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert answer.headers["Vary"] == "Accept-Encoding"


def test_each_encoding_has_a_tag_of_its_own(browser: TestClient):
    tags = {
        browser.head("/static/vendor.js", headers={"Accept-Encoding": each}).headers["ETag"]
        for each in ("br", "gzip", "identity")
    }
    assert len(tags) == 3


def test_pages_and_the_documentation_name_the_version_in_every_address(client: TestClient):
    version = client.app.state.static_version
    for page in ("/", "/runs/alpha", "/docs", "/nothing"):
        addresses = re.findall(r'"(/static/[^"]+)"', client.get(page, headers={"Accept": "text/html"}).text)
        assert len(addresses) >= 4
        assert all(address.startswith(f"/static/{version}/") for address in addresses)
        assert all(client.get(address).headers["Cache-Control"].endswith("immutable") for address in addresses)
