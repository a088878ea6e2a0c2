"""Current labels of many keys at once."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from app.labels.models import Label
from contract.keys import KeyId

_AT_ONCE = 500


def labels_of_keys(session: Session, weights_sha256: str, keys: Sequence[KeyId]) -> dict[KeyId, list[Label]]:
    """Everyone's current labels of those of the keys that have any, in the order of their names."""
    found: dict[KeyId, list[Label]] = defaultdict(list)
    for start in range(0, len(keys), _AT_ONCE):
        wanted = [(key.layer, key.index) for key in keys[start : start + _AT_ONCE]]
        chosen = (
            select(Label)
            .where(Label.weights_sha256 == weights_sha256, Label.superseded_at.is_(None))
            .where(tuple_(Label.layer, Label.key_index).in_(wanted))
            .order_by(Label.person)
        )
        for label in session.scalars(chosen):
            found[KeyId(label.layer, label.key_index)].append(label)
    return dict(found)
