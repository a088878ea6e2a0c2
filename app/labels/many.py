"""Current labels of many keys at once."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from keyscope.app.database.many_keys import MOST, is_wanted, wanted_keys
from keyscope.app.labels.models import Label
from keyscope.contract.keys import KeyId


def labels_of_keys(session: Session, weights_sha256: str, keys: Sequence[KeyId]) -> dict[KeyId, list[Label]]:
    """Everyone's current labels of those of the keys that have any, in the order of their names."""
    found: dict[KeyId, list[Label]] = defaultdict(list)
    for start in range(0, len(keys), MOST):
        wanted = wanted_keys([(key.layer, key.index) for key in keys[start : start + MOST]])
        about = select(Label).select_from(wanted).join(Label, is_wanted(Label, weights_sha256, wanted))
        chosen = about.where(Label.superseded_at.is_(None)).order_by(Label.person)
        for label in session.scalars(chosen):
            found[KeyId(label.layer, label.key_index)].append(label)
    return dict(found)
