"""The roles a token can have."""

from enum import StrEnum


class Role(StrEnum):
    """What a token is in its code."""

    KEYWORD = "keyword"
    OPERATOR = "operator"
    PUNCTUATION = "punctuation"
    IDENTIFIER_DEFINED = "identifier_defined"
    IDENTIFIER_USED = "identifier_used"
    IDENTIFIER_IMPORTED = "identifier_imported"
    CALL_TARGET = "call_target"
    ATTRIBUTE = "attribute"
    TYPE = "type"
    STRING = "string"
    NUMBER = "number"
    COMMENT = "comment"
    INDENTATION = "indentation"
    WHITESPACE = "whitespace"
    OTHER = "other"


ROLES = tuple(Role)
"""Every role; a role's code is its index here."""
_CODES = {role: code for code, role in enumerate(ROLES)}


def code_of(role: Role) -> int:
    return _CODES[role]
