"""Save baskets of masks that are too long for an address, and load them by id."""

from fastapi import APIRouter
from pydantic import Field

from keyscope.app import baskets
from keyscope.app.web.dependencies import LabelsDatabase
from keyscope.app.web.shapes import Answer, Shape, failures
from keyscope.contract.keys import Mask, format_basket, unique_masks

MAX_MASKS = 65_536
router = APIRouter(prefix="/baskets", tags=["baskets"])


class BasketBody(Shape):
    """The masks to save."""

    masks: list[Mask] = Field(min_length=1, max_length=MAX_MASKS)


class BasketAnswer(Answer):
    """A saved basket."""

    id: str
    mask: str = Field(description="The basket as addresses write it")
    masks: list[Mask]


@router.post("", status_code=201, responses=failures(403, 413, 422, 503))
def save_basket(body: BasketBody, database: LabelsDatabase) -> BasketAnswer:
    """Save a basket; equal masks get the same id."""
    masks = unique_masks(body.masks)
    name = database.write(lambda session: baskets.save_basket(session, masks))
    return _answer(name, masks)


@router.get("/{basket}", responses=failures(404, 422, 503))
def load_basket(basket: str, database: LabelsDatabase) -> BasketAnswer:
    """Load a saved basket."""
    return _answer(basket, database.read(lambda session: baskets.load_basket(session, basket)))


def _answer(name: str, masks: list[Mask]) -> BasketAnswer:
    return BasketAnswer(id=name, mask=format_basket(masks), masks=masks)
