import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from keyscope.cli.main import cli
from keyscope.cli.serve import _place_of
from keyscope.contract.manifest import Verification
from keyscope.contract.runfile import TABLES
from keyscope.worker.live.settings import WorkerSettings
from tests.made.runs import build_run
from tests.processes import KEYSCOPE, answers, free_port, wait_until
from tests.worker.models import CODE, save_tiny

WITHOUT_TORCH = [
    sys.executable,
    "-c",
    "import sys; sys.modules['torch'] = None; from keyscope.cli.main import main; main()",
]
"""The command where torch cannot be imported; loading it takes seconds."""
COMMANDS = ["demo", "open", "precompute", "verify", "inspect", "serve", "worker", "db"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run_file(tmp_path_factory):
    return build_run(tmp_path_factory.mktemp("runs") / "alpha.duckdb")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny-gpt2", "gpt2")


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number, text in enumerate(CODE):
        (folder / f"file{number}.py").write_text(text)
    return folder


@pytest.fixture
def precompute(model, corpus, tmp_path):
    """The arguments of a precompute that takes no time."""
    settings = ("--window", 32, "--top-k", 3, "--context", 4)
    return ["precompute", "--model", model, "--corpus", corpus, "--out", tmp_path / "runs", *settings]


def test_help_lists_the_commands_and_loads_nothing_heavy():
    help_and_modules = "from keyscope.cli.main import cli; import sys; cli(['--help'], standalone_mode=False)"
    listed = f"{help_and_modules}; print(*sys.modules, sep='\\n', file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True)
    assert all(re.search(rf"\b{command}\b", ended.stdout) for command in COMMANDS)
    heavy = {"torch", "transformers", "fastapi", "sqlalchemy", "pandas", "plotly", "pyarrow"}
    assert heavy.isdisjoint(ended.stderr.split())


def test_a_seed_of_too_many_digits_is_refused_by_its_option():
    refused = run("precompute", "--model", "tiny", "--corpus", "code", "--seed", 10**20)
    assert refused.exit_code == 2
    assert "--seed" in refused.output


def test_options_explain_themselves_by_the_settings():
    shown = " ".join(re.sub(r"[│\n]", " ", run("serve", "--help").output).split())
    assert "Directory with the run files" in shown
    assert "[default: (8000)]" in shown


def test_the_version_is_the_projects():
    assert run("--version").output == "0.1.0\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete_commands_and_options(shell):
    environment = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = subprocess.run([*KEYSCOPE, "--show-completion", shell], capture_output=True, text=True, env=environment)
    assert shown.returncode == 0, shown.stderr
    assert "complete" in shown.stdout
    assert f"complete_{shell}" in shown.stdout


def test_completion_offers_the_commands_that_begin_so():
    typed = {"_KEYSCOPE_COMPLETE": "complete_bash", "COMP_WORDS": "keyscope pre", "COMP_CWORD": "1"}
    code = "from keyscope.cli.main import cli; cli(prog_name='keyscope')"
    offered = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | typed)
    assert offered.stdout.split() == ["precompute"]


def test_an_unknown_option_is_a_usage_error():
    assert run("inspect", "--nonsense").exit_code == 2


def test_inspect_shows_the_manifest_and_counts(run_file):
    result = run("inspect", run_file)
    assert result.exit_code == 0
    assert re.search(r"run +alpha \(schema 1\)", result.output)
    assert re.search(r"verified +\d+ keys, largest error", result.output)


def test_inspect_answers_programs_in_json(run_file):
    answer = json.loads(run("inspect", run_file, "--json").output)
    assert answer["ok"] is True
    assert answer["manifest"]["run_id"] == "alpha"
    assert set(answer["rows"]) == {table.name for table in TABLES}
    assert answer["rows"]["keys"] == sum(answer["manifest"]["model"]["keys_per_layer"])


def test_a_file_that_is_no_run_ends_in_one_sentence(tmp_path):
    other = tmp_path / "notes.duckdb"
    other.write_text("no database")
    result = run("inspect", other)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "notes.duckdb is not a run file" in result.stderr


def test_a_missing_file_is_a_usage_error(tmp_path):
    result = run("inspect", tmp_path / "missing.duckdb")
    assert result.exit_code == 2
    assert "not exist" in " ".join(result.stderr.replace("│", " ").split())


def test_a_wrong_setting_is_named_by_its_variable(monkeypatch):
    monkeypatch.setenv("KEYSCOPE_PORT", "eighty")
    result = run("serve")
    assert result.exit_code == 2
    assert "KEYSCOPE_PORT" in result.stderr


def test_a_mistyped_folder_of_runs_is_refused_and_not_created(tmp_path):
    # an address that is refused too, so that no server starts if the folder is accepted
    result = run("serve", "--runs", tmp_path / "rusn", "--host", "0.0.0.0")
    assert result.exit_code == 1
    assert f"there is no folder {tmp_path / 'rusn'}" in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_option_is_named_by_its_name():
    result = run("serve", "--port", 70_000)
    assert result.exit_code == 2
    assert "--port" in result.stderr


def test_a_worker_without_a_model_asks_for_one():
    result = run("worker")
    assert result.exit_code == 2
    assert "--model" in result.stderr


def test_a_worker_that_everybody_could_use_is_refused():
    result = run("worker", "--model", "any", "--host", "0.0.0.0")
    assert result.exit_code == 1
    assert "this worker has no token, and others could reach it on 0.0.0.0" in result.stderr


def test_database_upgrade_makes_the_labels_database(tmp_path):
    path = tmp_path / "labels.sqlite"
    assert run("db", "upgrade", "--database-url", f"sqlite:///{path}").exit_code == 0
    assert path.stat().st_size > 0


def test_precompute_publishes_a_run_that_verify_confirms(precompute):
    made = run(*precompute, "--json")
    assert made.exit_code == 0, made.stderr
    events = [json.loads(line) for line in made.stdout.splitlines()]
    path = Path(events[-1]["run"])
    assert events[-1]["ok"] is True
    assert {"stage", "done", "note"} <= {event.get("event") for event in events}
    assert json.loads(run("inspect", path, "--json").output)["manifest"]["settings"]["window"] == 32

    verified = run("verify", path, "--keys", 5)
    assert verified.exit_code == 0, verified.stderr
    assert re.search(r"verified: 5 keys, \d+ triggers, largest error \S+, allowed \S+", verified.stdout)


@pytest.mark.parametrize(
    ("options", "burn_in", "keep_boilerplate", "ungrouped"),
    [
        ((), 16, False, False),
        (("--window", 32), 8, False, False),
        (("--burn-in", 0, "--keep-boilerplate", "--ungrouped"), 0, True, True),
        (("--preset", "paper2023"), 0, True, True),
        (("--preset", "geva2021"), 0, True, True),
    ],
)
def test_what_counts_by_default_is_up_to_the_preset(
    model, corpus, monkeypatch, options, burn_in, keep_boilerplate, ungrouped
):
    asked = []
    monkeypatch.setattr("keyscope.worker.precompute.run.precompute", lambda request, _: asked.append(request))
    assert run("precompute", "--model", model, "--corpus", corpus, *options, "--bos", "eos").exit_code == 0
    (settings,) = (request.settings for request in asked)
    assert (settings.burn_in, settings.keep_boilerplate, settings.ungrouped) == (burn_in, keep_boilerplate, ungrouped)
    assert (settings.stride, settings.bos) == (settings.window - burn_in, "eos")


def test_a_burn_in_as_long_as_a_window_is_refused_by_its_option(model, corpus):
    result = run("precompute", "--model", model, "--corpus", corpus, "--window", 32, "--burn-in", 32)
    assert result.exit_code == 2
    assert "--burn-in" in result.stderr


def test_precompute_tells_what_was_left_out(precompute, corpus):
    (corpus / "empty.py").write_text("")
    (corpus / "link.py").symlink_to(corpus / "file0.py")
    made = run(*precompute)
    assert made.exit_code == 0, made.stderr
    assert "left out: 1 empty, 1 link" in made.stderr.splitlines()
    (path,) = Path(precompute[6]).glob("*.duckdb")
    assert re.search(r"left out +1 empty, 1 link", run("inspect", path).output)


def test_a_run_finds_the_local_model_it_was_computed_with(precompute, corpus, tmp_path, model):
    moved = tmp_path / "models" / "mine"
    shutil.copytree(model, moved)
    precompute[2] = moved
    made = run(*precompute, "--json")
    path = Path(json.loads(made.stdout.splitlines()[-1])["run"])
    assert str(tmp_path) not in json.dumps(json.loads(run("inspect", path, "--json").output)["manifest"]["model"])

    assert run("verify", path, "--keys", 2).exit_code == 0
    assert run("analyse", path, "agreement").exit_code == 0
    assert _place_of(path, WorkerSettings(model=str(path))) == {"model": str(moved), "revision": None}

    moved.rename(moved.with_name("elsewhere"))
    for command in (["verify", path], ["analyse", path, "agreement"], ["worker", "--model", path], ["open", path]):
        refused = run(*command)
        assert refused.exit_code == 1, command
        assert isinstance(refused.exception, SystemExit)
        assert "local model mine, which is not found on this machine: name its folder" in refused.stderr
    assert run("verify", path, "--keys", 2, "--model", moved.with_name("elsewhere")).exit_code == 0


def test_a_note_on_another_models_place_is_ignored(run_file, tmp_path):
    path = tmp_path / "alpha.duckdb"
    shutil.copy(run_file, path)
    for note in ("", "{}", json.dumps({"model": str(tmp_path), "weights_sha256": "0" * 64})):
        path.with_suffix(".local.json").write_text(note)
        refused = run("verify", path)
        assert refused.exit_code == 1
        assert "--model" in refused.stderr


def test_open_serves_a_run_with_its_model(run_file, model, monkeypatch):
    served = []
    monkeypatch.setattr("keyscope.cli.open.stop_by_interrupt", lambda: None)
    monkeypatch.setattr(
        "keyscope.cli.supervise.supervise", lambda services, ready, note: (served.extend(services), ready())
    )
    opened = run("open", run_file, "--model", model, "--port", free_port())
    assert opened.exit_code == 0, opened.stderr
    worker, server = (list(each.command) for each in served)
    assert worker[worker.index("--model") + 1] == str(model)
    assert server[server.index("--runs") + 1] == str(run_file.parent)
    assert re.search(r"http://127\.0\.0\.1:\d+/runs/alpha ", opened.stderr)


def test_a_finished_run_is_refused_and_with_resume_left_as_it_is(precompute):
    assert run(*precompute).exit_code == 0
    again = run(*precompute)
    assert again.exit_code == 1
    assert "is already there" in again.stderr.splitlines()[-1]
    assert run(*precompute, "--resume").exit_code == 0


def test_several_sources_can_follow_one_another(precompute, corpus, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "more.py").write_text("print('more')\n")
    result = run(*precompute, "--json", other)
    path = json.loads(result.stdout.splitlines()[-1])["run"]
    languages = json.loads(run("inspect", path, "--json").output)["manifest"]["corpus"]["languages"]
    assert [counts["files"] for counts in languages] == [len(CODE) + 1]


def test_verify_fails_over_the_tolerance(run_file, monkeypatch):
    bad = Verification(keys=5, triggers=15, largest_error=0.5, tolerance=1e-4, passed=False, seconds=0.1)
    monkeypatch.setattr("keyscope.worker.precompute.verify.verify_run", lambda *_: bad)
    result = run("verify", run_file, "--model", "tiny")
    assert result.exit_code == 1
    assert "NOT verified: 5 keys, 15 triggers, largest error 0.5, allowed 0.0001" in result.stdout


def test_a_plan_is_computed_in_shares_and_published(precompute, tmp_path):
    planned = run(*precompute, "--plan-only", "--work", tmp_path / "work")
    assert planned.exit_code == 0, planned.stderr
    plan = planned.stdout.strip()
    assert Path(plan).name == "plan.json"
    assert run("shards", plan, "--rank", 2, "--of", 2).exit_code == 2
    refused = run("publish", plan, "--out", tmp_path / "runs")
    assert refused.exit_code == 1
    assert "have no result (0" in refused.stderr

    for rank in range(2):
        computed = run("shards", plan, "--rank", rank, "--of", 2, "--device", "cpu", "--scratch", tmp_path / "scratch")
        assert computed.exit_code == 0, computed.stderr
    published = run("publish", plan, "--out", tmp_path / "runs", "--json")
    assert published.exit_code == 0, published.stderr
    assert Path(json.loads(published.stdout.splitlines()[-1])["run"]).is_file()
    assert list((tmp_path / "work").iterdir()) == []


def test_an_interrupted_precompute_says_how_to_go_on(precompute, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("keyscope.worker.precompute.run.precompute", interrupted)
    result = run(*precompute)
    assert result.exit_code == 130
    assert result.stderr == "interrupted; continue with --resume\n"


def test_a_model_that_is_not_there_ends_in_one_sentence_before_torch_is_loaded(tmp_path, corpus):
    command = [*WITHOUT_TORCH, "precompute", "--model", "nowhere.gguf", "--corpus", corpus, "--out", tmp_path / "runs"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1] == "there is no GGUF file nowhere.gguf"


def test_ctrl_c_stops_a_precompute_and_resume_ends_it(model, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(40):
        names = ",\n".join(f"n{number}_{i}" for i in range(150))
        (corpus / f"file{number}.py").write_text(f"names = [{names}]\n")
    command = [*KEYSCOPE, "precompute", "--model", model, "--corpus", corpus, "--out", tmp_path / "runs"]
    command += ["--window", "128", "--keep-duplicates", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if json.loads(line).get("stage") == "reading coefficients":
                break
        process.send_signal(signal.SIGINT)
        _out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "interrupted; continue with --resume"
    assert list((tmp_path / "runs").glob("*.duckdb")) == []
    assert run(*command[len(KEYSCOPE) :], "--resume").exit_code == 0
    assert len(list((tmp_path / "runs").glob("*.duckdb"))) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_answers_and_stops_on_a_signal(run_file, number):
    port = free_port()
    process = subprocess.Popen(
        [*KEYSCOPE, "serve", "--runs", run_file.parent, "--port", str(port)], stderr=subprocess.PIPE, text=True
    )
    try:
        assert wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"))
        process.send_signal(number)
        _out, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode in (0, -number)
    assert "Traceback" not in errors


def test_a_server_bound_to_its_starter_ends_when_the_pipe_closes(run_file):
    port = free_port()
    process = subprocess.Popen(
        [*KEYSCOPE, "serve", "--runs", run_file.parent, "--port", str(port), "--stop-with-input"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    try:
        assert wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"))
        process.stdin.close()
        process.wait(20)
    finally:
        process.kill()
        process.wait()


def test_a_worker_that_cannot_start_says_why_in_one_sentence_before_torch_is_loaded():
    result = subprocess.run(
        [*WITHOUT_TORCH, "worker", "--model", "nowhere.gguf", "--port", str(free_port())],
        capture_output=True,
        text=True,
        env=os.environ | {"NO_COLOR": "1"},
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "there is no GGUF file nowhere.gguf"
    assert "Traceback" not in result.stderr
