"""The notebook API: runs as relations, keys drawn as code, remote runs, and the page that documents it."""

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

import keyscope
from keyscope.contract.bins import edges
from keyscope.contract.keys import InvalidKey
from keyscope.contract.runfile import RunFileError, open_run
from keyscope.notebook.drawing import visible
from keyscope.notebook.remote import DownloadFailed
from keyscope.notebook.run import NoAnalysis, Run, UnknownColumn, UnknownKey
from tests.made.runs import build_run
from tests.made.syntax import write_syntax
from tests.test_house import ROOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small run and its syntax analysis."""
    folder = tmp_path_factory.mktemp("notebook")
    write_syntax(build_run(folder / "runs" / "demo.duckdb"))
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Iterator[Run]:
    with keyscope.open_run(folder / "runs" / "demo.duckdb") as run:
        yield run


def test_the_code_of_the_notebook_page_runs(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    blocks = re.findall(r"```python\n(.+?)```", (ROOT / "docs" / "notebook.md").read_text("utf-8"), re.DOTALL)
    assert len(blocks) > 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)


def test_notebooks_need_neither_server_nor_torch(folder: Path):
    code = """
import sys
before = set(sys.modules)
import keyscope
keyscope.open_run(sys.argv[1]).key("L1.K3")._repr_html_()
loaded = {name.split(".")[0] for name in set(sys.modules) - before}
from importlib.metadata import packages_distributions
owners = packages_distributions()
print(sorted({owner for name in loaded for owner in owners.get(name, [])}))
"""
    printed = subprocess.run(
        [sys.executable, "-c", code, folder / "runs" / "demo.duckdb"], capture_output=True, text=True, check=True
    ).stdout
    allowed = {
        "annotated-types",
        "duckdb",
        "keyscope",
        "pydantic",
        "pydantic_core",
        "typing-inspection",
        "typing_extensions",
    }
    assert set(re.findall(r"'([\w-]+)'", printed)) <= allowed


def test_layers_add_up_to_the_keys(run: Run):
    rows = run.layers().project("layer, keys, dead").fetchall()
    assert [(layer, keys) for layer, keys, _ in rows] == list(enumerate(run.manifest.model.keys_per_layer))
    assert sum(dead for *_, dead in rows) == len(run.keys(where="dead").fetchall())


def test_keys_are_filtered_and_sorted(run: Run):
    found = run.keys(layer=1, where="NOT dead", sort="-maximum").project("key, layer, maximum").fetchall()
    assert {layer for _, layer, _ in found} == {1}
    assert found == sorted(found, key=lambda row: -row[2])
    assert len(found) == run.sql("SELECT count(*) FROM keys WHERE layer = ? AND NOT dead", [1]).fetchall()[0][0]


def test_missing_numbers_come_last_in_both_directions(run: Run):
    for sort in ("kurtosis", "-kurtosis"):
        missing = [row[0] for row in run.keys(sort=sort).project("kurtosis IS NULL OR isnan(kurtosis)").fetchall()]
        assert missing == sorted(missing)


def test_promoted_tokens_are_told_in_words(run: Run):
    key, promoted = run.keys().project("key, promoted").fetchall()[4]
    listed = run.key(key).values.filter("projection = 'normed' AND direction = 'promoted' AND rank <= 5")
    assert promoted == [row[0] for row in listed.project("token").fetchall()]


def test_triggers_have_their_code_and_coefficients(run: Run):
    triggers = run.key("L1.K3").triggers
    names = triggers.columns
    for row in triggers.fetchall():
        found = dict(zip(names, row, strict=True))
        assert found["tokens"][found["position"]] == found["token"]
        assert found["coefficients"][found["position"]] == found["coefficient"]
        assert "".join(found["tokens"]) == found["code"]
        assert len(found["tokens"]) == len(found["coefficients"])


def test_the_context_of_a_trigger_is_what_the_pages_show(run: Run):
    from keyscope.app.queries.examples import key_triggers
    from keyscope.app.queries.tokens import load_vocabulary
    from keyscope.app.queries.windows import Windows
    from keyscope.contract.keys import KeyId

    with open_run(run.path) as connection:
        shown = key_triggers(connection.cursor(), Windows(load_vocabulary(connection.cursor())), KeyId(1, 3))
    ours = run.key("L1.K3").triggers.project("language, polarity, rank, coefficients").fetchall()
    expected = [(each.language, each.polarity, each.rank, each.coefficients) for each in shown]
    assert [row[:3] for row in ours] == [row[:3] for row in expected]
    for (*_, coefficients), (*_, wanted) in zip(ours, expected, strict=True):
        assert coefficients == pytest.approx(wanted)


def test_the_histogram_has_every_bin_with_its_edges(run: Run):
    rows = run.key("L0.K0").histogram.filter("language = 'go'").project("low, high").fetchall()
    assert rows == list(zip(edges()[:-1], edges()[1:], strict=True))


def test_a_key_draws_its_triggers_as_escaped_code(run: Run):
    drawn = "".join(run.key(f"L{layer}.K{index}")._repr_html_() for layer in range(2) for index in range(6))
    assert "<img" not in drawn
    assert "&lt;img src=x" in drawn
    assert "</script>" not in drawn
    assert "outline:1px solid" in drawn


def test_characters_that_rearrange_text_are_written_out():
    assert visible("a\u202eb\x1b[0m\tc\n") == "a\\u202eb\\u001b[0m\tc\n"


def test_an_analysis_has_the_tables_of_its_kind(run: Run):
    syntax = run.analysis("syntax")
    assert syntax.manifests[0].kind == "syntax"
    for table in syntax.tables:
        assert syntax[table].fetchall() == run.sql(f"SELECT * FROM {table}").fetchall()


@pytest.mark.parametrize(
    ("ask", "error", "sentence"),
    [
        (lambda run: run.key("five"), InvalidKey, "'five' is not a key"),
        (lambda run: run.key("L9.K0"), UnknownKey, "its layers are 0 to 1"),
        (lambda run: run.key("L1.K99"), UnknownKey, "end at 5"),
        (lambda run: run.keys(sort="-beauty"), UnknownColumn, "'beauty'"),
        (lambda run: run.analysis("astrology"), NoAnalysis, "choose one of syntax"),
        (lambda run: run.analysis("firing"), NoAnalysis, "keyscope analyse"),
        (lambda run: run.analysis("syntax")["keys"], NoAnalysis, "it has syntax_"),
    ],
)
def test_wrong_names_are_answered_with_a_sentence(
    run: Run, ask: Callable[[Run], object], error: type[Exception], sentence: str
):
    with pytest.raises(error, match=re.escape(sentence)):
        ask(run)


def test_a_file_that_is_missing_or_not_a_run_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="there is no run file"):
        keyscope.open_run(tmp_path / "none.duckdb")
    (tmp_path / "other.duckdb").write_text("not a run")
    with pytest.raises(RunFileError, match=r"other\.duckdb"):
        keyscope.open_run(tmp_path / "other.duckdb")


class Quiet(SimpleHTTPRequestHandler):
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server with the folder, which stands for the hub too; downloads go to a fresh cache."""
    monkeypatch.setenv("KEYSCOPE_CACHE", str(tmp_path / "cache"))
    (folder / "datasets" / "org" / "name" / "resolve").mkdir(parents=True, exist_ok=True)
    main = folder / "datasets" / "org" / "name" / "resolve" / "main"
    if not main.exists():
        main.symlink_to(folder / "runs")
    Quiet.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("HF_ENDPOINT", url)
        yield url
        server.shutdown()
        thread.join()


def test_a_run_on_the_web_is_downloaded_once_with_its_analyses(hub: str):
    for _ in range(2):
        with keyscope.open_run(f"{hub}/runs/demo.duckdb") as run:
            assert run.analysis("syntax")["syntax_keys"].fetchall()
    paths = [path for path, _ in Quiet.asked]
    assert paths.count("/runs/demo.duckdb") == 1
    assert paths.count("/runs/demo.analysis/syntax.duckdb") == 1


def test_a_run_on_the_hub_is_found_and_the_token_goes_along(hub: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    with keyscope.open_run("hf://datasets/org/name/demo.duckdb") as run:
        assert run.run_id == "demo"
    assert Quiet.asked[0] == ("/datasets/org/name/resolve/main/demo.duckdb", "Bearer secret")


def test_the_token_of_the_hub_goes_nowhere_else(hub: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    keyscope.open_run(f"{hub}/runs/demo.duckdb").close()
    assert {token for _, token in Quiet.asked} == {None}


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("{hub}/runs/none.duckdb", "there is no run file at"),
        ("{hub}/runs/", "has to end in .duckdb"),
        ("hf://org/name/demo.duckdb", "write hf://datasets/ORG/NAME"),
        ("http://127.0.0.1:9/demo.duckdb", "cannot be reached"),
    ],
)
def test_a_remote_run_that_is_not_there_is_named(hub: str, place: str, sentence: str):
    with pytest.raises(DownloadFailed, match=re.escape(sentence)):
        keyscope.open_run(place.format(hub=hub))
