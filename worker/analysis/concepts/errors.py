"""Errors of looking for the keys of concepts."""

from keyscope.contract.errors import KeyscopeError


class NothingToPickOn(KeyscopeError, status=409):
    """All files in the concepts' languages are held out."""
