"""Errors of measuring an edit."""

from keyscope.contract.errors import KeyscopeError


class ConceptNotComputed(KeyscopeError, status=409):
    """The keys of the concept have not been computed."""


class NothingToMask(KeyscopeError, status=409):
    """The picker finds no key of the concept, or leaves none for a control."""


class NothingToMeasure(KeyscopeError, status=409):
    """The files have no window with the concept, or none without it."""
