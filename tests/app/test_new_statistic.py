"""A statistic added as CONTRIBUTING's recipe says: pages and JSON know it, and yesterday's run files still open."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import keyscope
from tests.contract.old_runs import OLD_RUNS, unpack

# the recipe's places outside of the worker: a line of the contract, and the group that pages show it in
CONTRACT = (
    "contract/runfile.py",
    "KEY_STATISTICS = (\n",
    '    Column("novelty", "FLOAT", "Added after the run was computed"),\n',
)
PAGES = ("app/web/statistics.py", '        "Activity",\n', '        "novelty",\n')
ASK = """
import sys
from pathlib import Path
import keyscope
from fastapi.testclient import TestClient
from keyscope.app.main import create_app
from keyscope.app.settings import Settings
assert Path(keyscope.__file__).is_relative_to(sys.argv[1]), keyscope.__file__
settings = Settings(runs=Path(sys.argv[2]), database_url="sqlite:///" + sys.argv[2] + "/labels.sqlite")
with TestClient(create_app(settings)) as client:
    for page in ("keys/L1.K3", "layers/0?columns=activity&sort=novelty", "search?ranges=novelty::1", ""):
        answer = client.get("/runs/old/" + page if page else "/runs/old")
        assert answer.status_code == 200, (page, answer.text)
    assert "novelty" in client.get("/runs/old/layers/0?columns=activity").text
    key = client.get("/api/v1/runs/old/keys/L1.K3").json()
    assert key["stats"]["novelty"] is None and key["stats"]["maximum"] is not None
    listed = client.get("/api/v1/runs/old/layers/0/keys?sort=novelty").json()["keys"]
    assert [row["stats"]["novelty"] for row in listed] == [None] * 4, listed
"""


def test_a_new_statistic_is_shown_and_empty_in_an_older_run(tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "keyscope"
    ignored = shutil.ignore_patterns("__pycache__", "models", "worker")
    shutil.copytree(Path(keyscope.__file__).parent, copy, ignore=ignored)
    for name, after, line in (CONTRACT, PAGES):
        text = (copy / name).read_text("utf-8")
        assert text.count(after) == 1, name
        (copy / name).write_text(text.replace(after, after + line), "utf-8")
    runs = tmp_path / "runs"
    runs.mkdir()
    unpack(OLD_RUNS[max(OLD_RUNS)], runs)
    done = subprocess.run(
        [sys.executable, "-c", ASK, copy, runs],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(copy.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
