"""The verdict on a node by a grammar's rules, from the node itself and the verdict on its parent."""

from typing import NamedTuple

from keyscope.worker.syntax.grammars import Grammar
from keyscope.worker.syntax.role import Role, code_of

SCOPES = ("module", "class", "function", "method", "constructor", "lambda")
"""Kinds of scope; a function directly inside a class is a method."""
_LASTING = frozenset({Role.IDENTIFIER_IMPORTED, Role.TYPE, Role.STRING, Role.COMMENT})
"""Roles that names keep at any depth below the node that gave them."""
_OPAQUE = frozenset({Role.STRING, Role.COMMENT})
"""Roles that everything below a node takes, not just names."""
_OF_MEMBERS = frozenset({Role.CALL_TARGET, Role.TYPE, Role.IDENTIFIER_IMPORTED})
"""Roles that go to the name in `object.name`; with any other role it is an attribute."""
_PUNCTUATION = frozenset("()[]{},;:.")


class Verdict(NamedTuple):
    """What a node is."""

    inherited: Role | None
    """Role passed on to names in and below it."""
    role: int
    """Code of the role of its own bytes."""
    scope: int
    """Enclosing scope, as an index into SCOPES."""
    statement: bool
    expression: bool
    declaration: bool


_OUTSIDE = Verdict(None, code_of(Role.OTHER), SCOPES.index("module"), False, False, False)


class Judge:
    """Judges the nodes of one language. Verdicts are cached: files have many nodes but few different cases."""

    def __init__(self, rules: Grammar) -> None:
        self._rules = rules
        self._cases: dict[tuple[str, bool, str | None, str, Role | None, int], Verdict] = {}

    def of(self, kind: str, named: bool, field: str | None, around: str, parent: Verdict | None) -> Verdict:
        """The verdict on a node of type `kind` in the field `field` of a node of type `around`."""
        above = parent or _OUTSIDE
        case = (kind, named, field, around, above.inherited, above.scope)
        verdict = self._cases.get(case)
        if verdict is None:
            verdict = self._cases[case] = self._judge(kind, named, field, around, above)
        return verdict

    def _judge(self, kind: str, named: bool, field: str | None, around: str, above: Verdict) -> Verdict:
        rules = self._rules
        if not named:
            role = self._sign(kind, around, above.inherited)
            return Verdict(above.inherited, code_of(role), above.scope, False, False, False)
        inherited = self._inherited(kind, field, around, above.inherited)
        return Verdict(
            inherited,
            code_of(self._role(kind, inherited)),
            self._scope(kind, above.scope),
            kind in rules.statements,
            kind in rules.expressions,
            kind in rules.declarations,
        )

    def _inherited(self, kind: str, field: str | None, around: str, above: Role | None) -> Role | None:
        rules = self._rules
        if above in _OPAQUE:
            return None if kind in rules.resets else above
        by_field = rules.fields.get((around, field)) if field else None
        own = rules.leaves.get(kind)
        if own in _OPAQUE:
            return by_field if by_field is Role.IDENTIFIER_IMPORTED else own
        if around in rules.members and above is not None:
            whole, name = rules.members[around]
            if field == whole and above is not Role.IDENTIFIER_IMPORTED:
                return Role.IDENTIFIER_USED
            if field == name and above in _OF_MEMBERS:
                return above
        if by_field is not None:
            return by_field
        if kind in rules.nodes:
            return rules.nodes[kind]
        handed_on = kind in rules.names or kind in rules.passing or kind in rules.members or above in _LASTING
        return above if handed_on else None

    def _role(self, kind: str, inherited: Role | None) -> Role:
        if inherited in _OPAQUE:
            return inherited or Role.OTHER
        if kind in self._rules.names:
            return inherited or self._rules.names[kind]
        return self._rules.leaves.get(kind, Role.OTHER)

    def _sign(self, kind: str, around: str, above: Role | None) -> Role:
        """Role of a keyword or sign: anonymous nodes, whose type is their text."""
        if above in _OPAQUE:
            return above or Role.OTHER
        if around in self._rules.leaves:
            return self._rules.leaves[around]
        if any(map(str.isalpha, kind)):
            return Role.KEYWORD
        bracket = kind in _PUNCTUATION or around in self._rules.brackets
        return Role.PUNCTUATION if bracket else Role.OPERATOR

    def _scope(self, kind: str, around: int) -> int:
        scope = self._rules.scopes.get(kind)
        if scope is None:
            return around
        return SCOPES.index("method" if scope == "function" and SCOPES[around] == "class" else scope)
