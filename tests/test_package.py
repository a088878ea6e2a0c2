"""The package as people get it: built from the sources, installed elsewhere, and used beside other people's packages."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.deploy.compose import stages
from tests.made.runs import build_run
from tests.processes import answers, free_port, wait_until
from tests.test_house import ROOT, tracked

PYTHON = sys.executable
BUILD = "import sys, setuptools.build_meta as backend; getattr(backend, f'build_{sys.argv[1]}')(sys.argv[2])"
VENDOR = Path("static", "vendor")
NEEDED = {
    "keyscope/app/main.py",
    "keyscope/contract/concepts.toml",
    "keyscope/migrations/env.py",
    "keyscope/models/codegen-nano/config.json",
    "keyscope/models/codegen-nano/model.safetensors",
    "keyscope/static/css/keyscope.css",
    "keyscope/static/vendor/htmx.min.js",
    "keyscope/static/vendor/plotly.min.js",
    "keyscope/static/vendor/plotly.min.js.br",
    "keyscope/static/vendor/plotly.LICENSE.txt",
    "keyscope/templates/base.html",
    "keyscope/worker/precompute/run.py",
}
FOREIGN = "raise ImportError('this package belongs to somebody else')\n"


def links_to_folders() -> list[Path]:
    return [path for path in (ROOT / "keyscope").iterdir() if path.is_symlink()]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of what is committed or about to be, with the pages' scripts; building in it leaves no trace here."""
    checkout = tmp_path_factory.mktemp("sources") / "keyscope"
    for path in [*tracked(), *links_to_folders()]:
        if path.relative_to(ROOT).parts[0] in ("tests", "docs", "bench"):
            continue
        copy = checkout / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy, follow_symlinks=False)
    shutil.copytree(ROOT / VENDOR, checkout / VENDOR)
    return checkout


def build(what: str, checkout: Path, out: Path) -> Path:
    """A wheel or sdist of the checkout, built offline by the tools that are installed."""
    result = subprocess.run([PYTHON, "-c", BUILD, what, str(out)], cwd=checkout, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist as an installer without a wheel would build it."""
    sdist = build("sdist", sources, tmp_path_factory.mktemp("sdist"))
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (checkout,) = unpacked.iterdir()
    return build("wheel", checkout, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_one_name_and_all_it_needs(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    folders = {name.split("/")[0] for name in names}
    assert folders == {"keyscope", next(folder for folder in folders if folder.endswith(".dist-info"))}
    assert set(names) >= NEEDED
    assert not [name for name in names if "axe" in name or "__pycache__" in name or name.endswith("vendor.mjs")]


def test_the_sources_and_the_sdist_give_equal_wheels(sources: Path, wheel: Path, tmp_path: Path):
    with zipfile.ZipFile(build("wheel", sources, tmp_path)) as direct, zipfile.ZipFile(wheel) as archive:
        assert sorted(direct.namelist()) == sorted(archive.namelist())


def test_a_build_without_the_scripts_fails_with_a_sentence(sources: Path, tmp_path: Path):
    checkout = tmp_path / "checkout"
    shutil.copytree(sources, checkout, symlinks=True, ignore=shutil.ignore_patterns("vendor", "build", "*.egg-info"))
    command = [PYTHON, "-c", BUILD, "wheel", str(tmp_path)]
    result = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert result.returncode != 0
    assert "static/vendor lacks htmx.min.js" in result.stderr
    assert "run `npm ci`" in result.stderr


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the wheel; what it depends on is lent by the one the tests run in."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, symlinks=True)
    programs = environment / "bin"
    # A .pth file inside a folder that another .pth file names is not read, so our own editable install is not lent.
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(environment), "platbase": str(environment)}))
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [PYTHON, "-m", "pip", "--python", str(programs / "python"), "install", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True)
    return programs


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's project, with packages called as our folders are, and a small run."""
    project = tmp_path_factory.mktemp("project")
    for name in ("app", "worker", "contract", "templates", "static", "migrations", "models"):
        (project / name).mkdir()
        (project / name / "__init__.py").write_text(FOREIGN)
    build_run(project / "runs" / "alpha.duckdb")
    return project


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PYTHONPATH": "."}


@pytest.mark.parametrize("command", [["keyscope"], ["python", "-m", "keyscope"]], ids=" ".join)
def test_the_command_works_in_a_folder_with_packages_of_our_folders_names(
    installed: Path, elsewhere: Path, command: list[str]
):
    program = [installed / command[0], *command[1:], "--version"]
    result = subprocess.run(program, cwd=elsewhere, env=environment(), capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip()


@pytest.fixture(scope="module")
def served(installed: Path, elsewhere: Path) -> Iterator[str]:
    """The address of the installed server, started in somebody's project."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [installed / "keyscope", "serve", "--runs", "runs", "--port", str(port)]
    process = subprocess.Popen(command, cwd=elsewhere, env=environment())
    try:
        assert wait_until(lambda: process.poll() is not None or answers(f"{url}/healthz"))
        assert process.poll() is None
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)


@pytest.mark.parametrize(
    "path", ["/", "/runs/alpha/keys/L1.K3", "/static/vendor/htmx.min.js", "/static/vendor/plotly.min.js", "/docs"]
)
def test_an_installed_server_has_its_pages_and_their_scripts(served: str, path: str):
    with httpx.Client(trust_env=False) as client:
        answer = client.get(served + path)
    assert answer.status_code == 200
    assert len(answer.content) > 500


WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
"""What `cap_drop: [ALL]` and `no-new-privileges` leave of root. Another user might not be able to enter root's folders,
in which Python may lie; without capabilities even root writes to nothing that is read-only."""


@pytest.fixture
def data(elsewhere: Path, tmp_path: Path) -> Iterator[Path]:
    """The volumes of the image: labels may be written, runs only read; so may a home and a working folder."""
    (tmp_path / "labels").mkdir()
    (tmp_path / "home").mkdir()
    shutil.copytree(elsewhere / "runs", tmp_path / "runs")
    read_only = [tmp_path / "runs" / "alpha.duckdb", tmp_path / "runs", tmp_path / "home", tmp_path]
    for path in read_only:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield tmp_path
    for path in read_only:
        path.chmod(0o755)


def test_the_package_runs_as_in_its_image_without_rights_on_read_only_runs(installed: Path, data: Path):
    image, port = stages()["app"], free_port()
    said = {name: value.replace("/data/", f"{data}/") for name, value in image.environment.items()}
    said |= {"KEYSCOPE_HOST": "127.0.0.1", "KEYSCOPE_PORT": str(port), "HOME": str(data / "home")}
    plain = {name: value for name, value in environment().items() if not name.startswith("KEYSCOPE_")}
    there = {"cwd": data, "env": plain | said | {"PATH": f"{installed}:{os.environ['PATH']}"}}
    reduced = WITHOUT_RIGHTS if os.geteuid() == 0 else []
    touch = subprocess.run([*reduced, "touch", data / "runs" / "x"], capture_output=True)
    assert touch.returncode != 0, "the runs can be written"
    before = sorted(data.rglob("*"))
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([*reduced, *image.command], **there)
    try:
        assert wait_until(lambda: process.poll() is not None or answers(f"{url}/healthz"))
        invite = [*reduced, "keyscope", "users", "invite", "Ada", "--role", "admin"]
        link = subprocess.run(invite, **there, capture_output=True, text=True, check=True).stdout.strip()
        with httpx.Client(base_url=url, trust_env=False, follow_redirects=True) as client:
            entry = {"name": "Ada", "code": link.partition("#")[2], "password": "correct horse battery"}
            assert client.post("/invitation", data=entry).is_success
            page = client.get("/runs/alpha/keys/L1.K3")
            assert (page.status_code, page.url.path) == (200, "/runs/alpha/keys/L1.K3")
    finally:
        process.terminate()
        process.wait(timeout=20)
    written = set(data.rglob("*")) - set(before)
    assert {path.parent.name for path in written} <= {"labels"}


def test_every_folder_linked_into_the_package_is_one_of_the_repository():
    targets = {path.name: os.readlink(path) for path in links_to_folders()}
    names = ("app", "migrations", "models", "static", "templates", "worker")
    assert targets == {name: f"../{name}" for name in names}
