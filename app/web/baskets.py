"""The basket in an address: its masks written out, or the id of a saved basket and the changes since.

`0123456789abcdef0123,L1.K2:0,-L3.K4` is a saved basket with `L1.K2` added and `L3.K4` removed, so links can change a basket
of any length without saving it.
"""

from dataclasses import replace

from keyscope.app.baskets import is_basket_id, load_basket, save_basket
from keyscope.app.database.engine import Database
from keyscope.app.web.links import TAKEN_OUT, Basket, Saved
from keyscope.contract.keys import KeyId, parse_basket


def read_basket(database: Database, run_id: str | None, text: str) -> Basket:
    """Read the basket in an address.

    Raises:
        InvalidMask, InvalidKey: the text is malformed.
        UnknownBasket: no basket of that id is saved.
        DatabaseUnavailable: the saved basket cannot be read.
    """
    name, *changes = (part.strip() for part in text.split(","))
    if not is_basket_id(name):
        return Basket(run_id, tuple(parse_basket(text)))
    saved = Saved(name, tuple(database.read(lambda session: load_basket(session, name))))
    removed = {KeyId.parse(part.removeprefix(TAKEN_OUT)) for part in changes if part.startswith(TAKEN_OUT)}
    added = parse_basket(",".join(part for part in changes if not part.startswith(TAKEN_OUT)))
    changed = removed | {mask.key for mask in added}
    return Basket(run_id, (*(mask for mask in saved.masks if mask.key not in changed), *added), saved)


def shortened(database: Database, basket: Basket) -> Basket:
    """The same basket, saved if it is too long to write out.

    Raises:
        DatabaseUnavailable: it cannot be saved.
    """
    written_out = replace(basket, saved=None)
    if not written_out.is_long:
        return written_out
    name = database.write(lambda session: save_basket(session, basket.masks))
    return replace(basket, saved=Saved(name, basket.masks))
