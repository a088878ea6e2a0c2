"""Why an edit cannot be measured."""

from keyscope.contract.errors import KeyscopeError


class ConceptNotComputed(KeyscopeError):
    """The keys of a concept are not known yet."""

    code = "concept_not_computed"
    status = 409


class NothingToMask(KeyscopeError):
    """No key of a concept passes the picker's rule."""

    code = "nothing_to_mask"
    status = 409


class NothingToMeasure(KeyscopeError):
    """The held-out files have no place of the concept, or none without it."""

    code = "nothing_to_measure"
    status = 409
