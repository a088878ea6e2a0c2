"""Why keys of concepts cannot be looked for."""

from keyscope.contract.errors import KeyscopeError


class NothingToPickOn(KeyscopeError):
    """All files in the languages of the concepts are held out."""

    code = "nothing_to_pick_on"
    status = 409
