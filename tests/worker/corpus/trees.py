"""Small synthetic corpora for these tests."""

import io
import random
import tarfile
import zipfile
from pathlib import Path

from keyscope.worker.corpus.gather import Gathered, GatherSettings, gather

LANGUAGES = ("python", "java", "go")


def code(seed: int, words: int = 120) -> str:
    """A text of random words in lines, different for every seed."""
    draw = random.Random(seed)
    return "".join(f"w{draw.randrange(10**6)} = w{draw.randrange(10**6)}\n" for _ in range(words // 2))


def write_tree(root: Path, files: dict[str, str | bytes]) -> Path:
    """Write files below a directory."""
    for path, content in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def write_zip(path: Path, files: dict[str, str]) -> Path:
    """Write a zip archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, mode: str, files: dict[str, str], extra: list[tarfile.TarInfo] | None = None) -> Path:
    """Write a tar archive; `extra` are members without content, such as links."""
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            data = content.encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            archive.addfile(member, io.BytesIO(data))
        for member in extra or []:
            archive.addfile(member)
    return path


def gather_from(*sources: Path | str, scratch: Path, limit: int = 100, **settings: object) -> Gathered:
    """Gather all languages."""
    chosen = {"languages": LANGUAGES, "files_per_language": limit, **settings}
    return gather([str(source) for source in sources], GatherSettings(**chosen), scratch, lambda _: None)


def identities(gathered: Gathered) -> list[tuple[str, str]]:
    """Source and path of every file, in order."""
    return [(file.source, file.path) for file in gathered.files()]
