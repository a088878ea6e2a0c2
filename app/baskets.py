"""Baskets of masks too long for an address, saved under an id derived from their content."""

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, Session, mapped_column

from keyscope.app.database.base import Base, Moment
from keyscope.app.errors import NotFound
from keyscope.contract.keys import Mask, format_basket, parse_basket

_ID = re.compile(r"[0-9a-f]{20}")


class UnknownBasket(NotFound):
    """No basket was saved under that id."""


class SavedBasket(Base):
    """The masks of a basket, named by their content."""

    __tablename__ = "baskets"

    id: Mapped[str] = mapped_column(String(20), primary_key=True, comment="Start of the sha256 of the masks' text")
    masks: Mapped[str] = mapped_column(Text, comment="The basket as addresses write it")
    created_at: Mapped[datetime] = mapped_column(Moment, comment="When it was saved")


def is_basket_id(text: str) -> bool:
    """Whether a text can be the id of a saved basket; no key's name can."""
    return _ID.fullmatch(text) is not None


def save_basket(session: Session, masks: Sequence[Mask]) -> str:
    """Save a basket and return its id; equal masks in equal order share one."""
    text = format_basket(masks)
    name = hashlib.sha256(text.encode()).hexdigest()[:20]
    session.merge(SavedBasket(id=name, masks=text, created_at=datetime.now(UTC)))
    return name


def load_basket(session: Session, name: str) -> list[Mask]:
    """The masks saved under an id.

    Raises:
        UnknownBasket: nothing was saved under it.
    """
    basket = session.get(SavedBasket, name)
    if basket is None:
        raise UnknownBasket(f"there is no saved basket {name!r}: save one by POST, or write its keys into the address")
    return parse_basket(basket.masks)
