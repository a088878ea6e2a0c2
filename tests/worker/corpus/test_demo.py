import sys
from collections import Counter
from pathlib import Path

import pytest

from keyscope.worker.corpus import demo
from keyscope.worker.corpus.demo import demo_sources
from keyscope.worker.downloads import DownloadFailed
from tests.worker.corpus.trees import code, gather_from, write_tar, write_tree, write_zip


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A fake machine: small libraries, both archives in the cache, one JDK with sources."""
    library = write_tree(tmp_path / "lib/python", {"os.py": code(1), "site-packages/pkg/a.py": code(2)})
    folders = {"stdlib": library, "purelib": library / "site-packages", "platlib": library / "site-packages"}
    monkeypatch.setattr(demo.sysconfig, "get_path", lambda key: str(folders[key]))
    cache = tmp_path / "cache"
    cache.mkdir()
    write_zip(cache / demo.GO.file, {"go/src/a.go": code(3), "go/src/gdb.py": code(4)})
    write_tar(cache / demo.JAVA.file, "w:gz", {"package/A.java": code(5), "package/tool.py": code(6)})
    monkeypatch.setattr(demo, "JDKS", tmp_path / "jvm")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    add_jdk(tmp_path / "jvm/java-17-openjdk")
    return tmp_path


def add_jdk(home: Path, release: str = "") -> None:
    (home / "lib").mkdir(parents=True)
    write_zip(home / "lib/src.zip", {"java.base/java/lang/B.java": code(len(home.name))})
    if release:
        (home / "release").write_text(release)


def no_network(archive, cache, announce):
    raise DownloadFailed(f"{archive.name} cannot be downloaded: no network")


def test_each_language_comes_from_its_own_sources_and_paths_tell_nothing_of_the_machine(machine):
    gathered = gather_from("demo", scratch=machine / "scratch", cache=machine / "cache")
    python = f"python-{sys.version_info.major}.{sys.version_info.minor}"
    assert [(file.language, file.source, file.path) for file in gathered.files()] == [
        ("python", python, "os.py"),
        ("python", "site-packages", "pkg/a.py"),
        ("java", "jdk-17", "java.base/java/lang/B.java"),
        ("java", demo.JAVA.name, "package/A.java"),
        ("go", demo.GO.name, "go/src/a.go"),
    ]
    assert gathered.missing == {}


def test_only_what_the_languages_need_is_fetched(machine, monkeypatch):
    monkeypatch.setattr(demo, "fetch", no_network)
    assert {source.language for source in demo_sources(machine, ["python"]).sources} == {"python"}


def test_a_language_that_cannot_be_had_is_reported_and_the_others_go_on(machine, monkeypatch):
    monkeypatch.setattr(demo, "fetch", no_network)
    gathered = gather_from("demo", scratch=machine / "scratch", cache=machine / "cache")
    assert gathered.counts == {"python": 2, "java": 1, "go": 0}
    assert gathered.missing == {"go": f"{demo.GO.name} cannot be downloaded: no network"}


def test_java_is_missing_only_without_any_of_its_sources(machine, monkeypatch):
    monkeypatch.setattr(demo, "fetch", no_network)
    said = []
    assert demo_sources(machine, ["java"], said.append).missing == {}
    assert said == [f"going on without {demo.JAVA.name}: {demo.JAVA.name} cannot be downloaded: no network"]
    monkeypatch.setattr(demo, "JDKS", machine / "none")
    assert list(demo_sources(machine, ["java"]).missing) == ["java"]


def test_files_of_the_demo_corpus_can_be_limited_in_size(machine):
    write_tree(machine / "lib/python", {"long.py": code(9, words=2000)})
    gathered = gather_from("demo:5000", scratch=machine / "scratch", cache=machine / "cache")
    assert gathered.counts == {"python": 2, "java": 2, "go": 1}
    assert gathered.skipped == {"too_large": 1}


def test_the_newest_jdk_counts_unless_java_home_names_one(machine, monkeypatch):
    add_jdk(machine / "jvm/temurin-9-jdk")
    add_jdk(machine / "jvm/current", 'IMPLEMENTOR="x"\nJAVA_VERSION="25.0.1"\n')
    add_jdk(machine / "opt/jdk", 'JAVA_VERSION="1.8.0_292"\n')

    def jdk() -> str:
        return demo_sources(machine / "cache", ["java"]).sources[-1].name

    assert jdk() == "jdk-25"
    monkeypatch.setenv("JAVA_HOME", str(machine / "opt/jdk"))
    assert jdk() == "jdk-8"
    monkeypatch.setenv("JAVA_HOME", str(machine / "nowhere"))
    assert jdk() == "jdk-25"


def test_the_fingerprint_tells_whether_packages_or_archives_changed(machine):
    def fingerprint() -> str:
        return demo_sources(machine / "cache").fingerprint

    first = fingerprint()
    assert fingerprint() == first
    (machine / "lib/python/site-packages/thing-1.0.dist-info").mkdir()
    second = fingerprint()
    add_jdk(machine / "jvm/temurin-25-jdk")
    assert len({first, second, fingerprint()}) == 3


def test_projects_are_packages_and_modules(machine):
    gathered = gather_from("demo", scratch=machine / "scratch", cache=machine / "cache")
    assert {file.path: file.project for file in gathered.files()} == {
        "os.py": "os",
        "pkg/a.py": "pkg",
        "java.base/java/lang/B.java": "java.base",
        "package/A.java": "package",
        "go/src/a.go": "go",
    }


@pytest.mark.parametrize(
    ("path", "project"),
    [
        ("go/src/net/http/client.go", "net"),
        ("go/src/cmd/go/internal/load/pkg.go", "cmd/go"),
        ("go/src/cmd/vendor/golang.org/x/mod/modfile/read.go", "golang.org/x/mod"),
        ("go/misc/wasm/main.go", "misc"),
    ],
)
def test_a_go_file_belongs_to_its_package_command_or_vendored_module(path, project):
    assert demo._go_package(path) == project


def test_projects_take_turns_so_none_dominates(machine):
    library = machine / "lib/python"
    write_tree(library, {f"big/{number}.py": code(100 + number) for number in range(50)})
    write_tree(
        library,
        {f"p{project}/{number}.py": code(200 + 9 * project + number) for project in range(8) for number in range(3)},
    )
    gathered = gather_from(
        "demo", scratch=machine / "scratch", cache=machine / "cache", limit=22, languages=("python",)
    )
    counts = Counter(file.project for file in gathered.files())
    assert max(counts.values()) <= 3
    assert len(counts) == 11
