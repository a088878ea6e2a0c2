"""Errors of looking for the keys of concepts."""

from keyscope.contract.errors import KeyscopeError


class NothingToPickOn(KeyscopeError):
    """All files in the concepts' languages are held out."""

    code = "nothing_to_pick_on"
    status = 409
