"""Texts of several lines as people typed them."""

from typing import Annotated

from pydantic import AfterValidator


def _as_typed(text: str) -> str:
    return text.replace("\r\n", "\n")


Typed = Annotated[str, AfterValidator(_as_typed)]
"""A text from a form: browsers send its line breaks as CR LF, whichever were typed."""
