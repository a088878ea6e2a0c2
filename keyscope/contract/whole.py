"""Files as wholes: written completely or not at all, and told apart by their content."""

import hashlib
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a text to a file: under another name first, so what has the final name is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, "utf-8")
    part.replace(path)


def file_sha256(path: Path) -> str:
    """The sha256 of a file's content, in hexadecimal digits; the file is read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
