"""Rules of the house that no single room can hold."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import yaml
from pydantic_settings import BaseSettings

from keyscope.app.labels.models import Kind
from keyscope.app.settings import Settings
from keyscope.worker.live.settings import WorkerSettings
from keyscope.worker.model.families import ENCODER_DECODERS, FAMILIES
from keyscope.worker.model.source import DEFAULT_CACHE
from tests.openapi import documents

ROOT = Path(__file__).parents[1]
ROOMS = ("app", "worker", "bench", "migrations", "keyscope")
REGISTRY = re.compile(r"(?:pypi|npmjs|pythonhosted|yarnpkg|debian|pytorch)\.(?:org|com|net)", re.IGNORECASE)


def tracked() -> list[Path]:
    """Files that are committed or about to be."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def modules() -> list[Path]:
    paths = {path.resolve() for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    return sorted(path for path in paths if path.stat().st_size)


def test_rooms_import_each_other_only_as_agreed():
    result = subprocess.run([Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("room", ["app", "worker"])
def test_tests_mirror_the_rooms(room):
    tested = {path.parent.relative_to(ROOT / "tests" / room) for path in (ROOT / "tests" / room).rglob("*.py")}
    rooms = {path.parent.relative_to(ROOT / room) for path in (ROOT / room).rglob("*.py")}
    assert tested - rooms == set()


def test_every_module_says_what_it_is_for():
    silent = [path for path in modules() if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert silent == []


def test_imports_are_absolute():
    relative = [
        path
        for path in modules()
        if any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    ]
    assert relative == []


@pytest.mark.parametrize("room", ["app", "contract"])
def test_pages_and_contract_load_without_torch(room):
    imports = (
        "import keyscope.app.main, keyscope.app.database.engine"
        if room == "app"
        else "import keyscope.contract.runfile, keyscope.contract.wire"
    )
    code = f"{imports}, sys; sys.exit('torch' in sys.modules or 'keyscope.worker.model' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_command_line_loads_without_torch():
    code = "import keyscope.cli.main, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("settings", [Settings, WorkerSettings])
def test_the_readme_lists_every_setting_and_no_other(settings: type[BaseSettings]):
    title = "Server" if settings is Settings else "Live worker"
    readme = (ROOT / "README.md").read_text("utf-8")
    section = readme.split(f"### {title}\n", 1)[1].split("\n#", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("| `KEYSCOPE_")]
    assert rows == settings_rows(settings)


def test_compose_hands_on_what_proxies_and_providers_need_and_gives_no_rights():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    needed = ("root_path", "trusted_", "oidc_")
    names = {f"KEYSCOPE_{name.upper()}" for name in Settings.model_fields if name.startswith(needed)}
    assert names <= set(services["app"]["environment"])
    for name in ("app", "worker", "worker-gpu"):
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["read_only"]
    for service in services.values():
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["logging"]["options"]["max-size"]
        assert service["mem_limit"]


def test_the_readme_names_every_known_architecture():
    sentence = re.search(r"Known architectures:([^;]+);", (ROOT / "README.md").read_text("utf-8"))
    assert sentence is not None
    assert re.findall(r"`(\w+)`", sentence[1]) == [*sorted(FAMILIES), *sorted(ENCODER_DECODERS)]


def settings_rows(settings: type[BaseSettings]) -> list[str]:
    """The README's table of some settings."""
    prefix = settings.model_config["env_prefix"]
    rows = []
    for name, field in settings.model_fields.items():
        default = "required" if field.is_required() else plain_default(field.default)
        rows.append(f"| `{prefix}{name.upper()}` | {default} | {field.description} |")
    return rows


def plain_default(value: object) -> str:
    """A default as a person would write it into the environment."""
    if value in (None, "", []):
        return "–"
    if value == DEFAULT_CACHE:
        return "`KEYSCOPE_CACHE`"
    return f"`{','.join(value) if isinstance(value, list) else value}`"


def test_documents_link_to_what_is_there():
    broken = []
    for path in (path for path in tracked() if path.suffix == ".md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text("utf-8")):
            if not (path.parent / target).exists():
                broken.append((path.name, target))
    assert broken == []


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    versions = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert versions[0] == project


def test_what_is_pinned_lies_within_the_declared_ranges():
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = project["dependencies"] + [line for extra in project["optional-dependencies"].values() for line in extra]
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").split() if "==" in line)
    canonical = {re.sub(r"[-_.]+", "-", name).lower(): pin for name, pin in pins.items()}
    for line in declared:
        requirement = Requirement(line)
        assert requirement.specifier.contains(canonical[requirement.name.lower()]), line
    assert pins["torch"] == "2.13.0"


def test_third_party_scripts_are_not_committed():
    vendored = [path for path in tracked() if path.suffix in (".js", ".css") and path.stat().st_size > 60_000]
    assert vendored == []
    assert not any("vendor" in path.parent.parts or "node_modules" in path.parts for path in tracked())


def test_no_file_names_a_registry():
    named = [path for path in tracked() if path.suffix != ".safetensors" and REGISTRY.search(text_of(path))]
    assert named == []


def text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        return ""


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.stem)
def test_the_committed_openapi_document_is_the_codes(path):
    assert json.loads(path.read_text("utf-8")) == documents()[path], "make openapi writes it anew"


def test_make_help_lists_every_verb():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony is not None
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert [line.split()[1] for line in shown.stdout.splitlines()] == phony[1].split()


TITLES = (
    ('class="cell"', "the script shows it as a tip to keyboard and touch, and without scripts it is the tooltip"),
    ('title="{{ token.title }}"', "the same"),
    ('class="corpus"', "repeats in full what is cut short"),
    ('class="path"', "repeats in full what is cut short"),
    ("sha256 }}", "repeats in full what is cut short"),
    ('aria-label="{{ step.title }}"', "repeats the name of an arrow"),
    ('aria-label="{{ title }}"', "repeats the name of an arrow"),
    ('class="tok"', "a number that the exports and the key's page have"),
    ('class="line"', "a number that the exports and the key's page have"),
    ('title="{{ piece.title }}"', "a number that the exports have, on each token of a page of code"),
)
"""What marks a tag that may have a title, and why it needs no popover."""


@pytest.mark.parametrize("kind", Kind)
def test_the_chip_of_a_kind_has_its_colour(kind: Kind):
    css = (ROOT / "static" / "css" / "keyscope.css").read_text("utf-8")
    own = re.search(rf"\.chip\.{kind}::before {{ background: var\((--\w+)\)", css)
    default = re.search(r"\.chip::before {[^}]*background: var\((--\w+)\)", css)
    assert default
    assert (own or default)[1] == kind.colour


def templates() -> list[Path]:
    return sorted(path for path in (ROOT / "templates").rglob("*.html") if "analyses" not in path.parts)


def test_no_line_of_a_template_is_longer_than_a_diff_shows():
    long = [
        (str(path.relative_to(ROOT)), number)
        for path in templates()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if len(line) > 160
    ]
    assert long == []


def test_help_is_in_popovers_and_not_in_titles_that_keyboard_and_touch_do_not_reach():
    found = [
        (path.name, tag)
        for path in templates()
        for tag in re.findall(r"<\w+[^<>]*\stitle=[^<>]*>", path.read_text("utf-8"))
        if not any(mark in tag for mark, _ in TITLES)
    ]
    assert found == []


def test_no_folder_of_code_holds_more_than_25_modules():
    counted = Counter(path.parent for path in modules())
    assert {str(folder.relative_to(ROOT)): n for folder, n in counted.items() if n > 25} == {}
