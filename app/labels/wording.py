"""Labels found by what they say: text in their description or among their tags."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Text, cast, func, or_, select
from sqlalchemy.orm import Session

from keyscope.app.labels.models import Label


@dataclass(frozen=True, slots=True)
class Saying:
    """Labels that say something: how many there are, and the latest of them."""

    total: int
    labels: Sequence[Label]


def labels_saying(session: Session, weights_sha256: str, text: str, limit: int) -> Saying:
    """Current labels of a model with the text in their description or in a tag, in any case; the latest first."""
    tags = cast(Label.tags, Text)  # as they are stored: JSON, in which some characters are escaped
    where = (
        Label.weights_sha256 == weights_sha256,
        Label.superseded_at.is_(None),
        or_(
            Label.description.icontains(text, autoescape=True),
            tags.icontains(json.dumps(text)[1:-1], autoescape=True),
        ),
    )
    total = session.scalar(select(func.count()).where(*where).select_from(Label)) or 0
    latest = select(Label).where(*where).order_by(Label.created_at.desc(), Label.id.desc()).limit(limit)
    return Saying(total, session.scalars(latest).all())
