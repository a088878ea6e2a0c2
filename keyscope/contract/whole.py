"""Writing a small file whole or not at all."""

from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a text to a file: under another name first, so what has the final name is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, "utf-8")
    part.replace(path)
