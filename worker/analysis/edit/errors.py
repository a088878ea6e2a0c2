"""Errors of measuring an edit."""

from keyscope.contract.errors import KeyscopeError


class ConceptNotComputed(KeyscopeError):
    """The keys of the concept have not been computed."""

    code = "concept_not_computed"
    status = 409


class NothingToMask(KeyscopeError):
    """The picker finds no key of the concept, or leaves none for a control."""

    code = "nothing_to_mask"
    status = 409


class NothingToMeasure(KeyscopeError):
    """The files have no window with the concept, or none without it."""

    code = "nothing_to_measure"
    status = 409
