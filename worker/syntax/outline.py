"""A syntax tree as arrays: type, role and ancestors of every node, and the innermost node at every byte."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from tree_sitter import TreeCursor

from keyscope.worker.syntax.grammars import grammar, parse
from keyscope.worker.syntax.judge import Judge, Verdict

IntArray = npt.NDArray[np.int64]
NONE = -1
"""In place of a node: there is none."""


@dataclass(frozen=True, eq=False)
class Outline:
    """The nodes of a tree, parents before their children; arrays are [nodes] unless noted."""

    language: str
    types: tuple[str, ...]
    named: npt.NDArray[np.bool_]
    starts: IntArray
    ends: IntArray
    """The byte after a node's last one."""
    parents: IntArray
    roles: npt.NDArray[np.int8]
    """Role of a node's own bytes, those in none of its children."""
    nodes: IntArray
    """The innermost named node that is or contains the node."""
    statements: IntArray
    """The innermost statement that is or contains the node, or NONE; likewise in the next two."""
    expressions: IntArray
    declarations: IntArray
    scopes: npt.NDArray[np.int8]
    """Scope that encloses the node, as an index into SCOPES."""
    places: IntArray
    """[changes], bytes where the innermost node changes, ascending."""
    innermost: IntArray
    """[changes], the innermost node from there on."""

    def at(self, places: npt.ArrayLike) -> IntArray:
        """The innermost node at each byte."""
        change = np.searchsorted(self.places, np.asarray(places), side="right") - 1
        # bytes before the first node belong to the root
        return self.innermost[np.maximum(change, 0)]


def outline(text: bytes, language: str) -> Outline | None:
    """Outline a file in time linear in its size; None for a language without grammar."""
    tree = parse(text, language)
    return None if tree is None else _Walk(_judge(language)).run(tree.walk(), language)


@cache
def _judge(language: str) -> Judge:
    rules = grammar(language)
    assert rules is not None
    return Judge(rules)


class _Walk:
    """One walk over a tree, without recursion: trees of broken code can be very deep."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.types: list[str] = []
        self.named: list[bool] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.parents: list[int] = []
        self.verdicts: list[Verdict] = []
        self.nodes: list[int] = []
        self.statements: list[int] = []
        self.expressions: list[int] = []
        self.declarations: list[int] = []
        self.scopes: list[int] = []
        self.places: list[int] = []
        self.innermost: list[int] = []

    def run(self, cursor: TreeCursor, language: str) -> Outline:
        """Walk depth-first from the root."""
        current = self._enter(cursor, NONE)
        while True:
            if cursor.goto_first_child():
                current = self._enter(cursor, current)
                continue
            self._leave(current)
            while not cursor.goto_next_sibling():
                if not cursor.goto_parent():
                    return self._outline(language)
                current = self.parents[current]
                self._leave(current)
            current = self._enter(cursor, self.parents[current])

    def _enter(self, cursor: TreeCursor, parent: int) -> int:
        node, number = cursor.node, len(self.types)
        assert node is not None
        kind, named = node.type, node.is_named
        first, end = node.byte_range
        root = parent == NONE
        verdict = self.judge.of(
            kind, named, cursor.field_name, "" if root else self.types[parent], None if root else self.verdicts[parent]
        )
        self.types.append(kind)
        self.named.append(named)
        self.starts.append(first)
        self.ends.append(end)
        self.parents.append(parent)
        self.verdicts.append(verdict)
        self.scopes.append(verdict.scope)
        self.nodes.append(number if named or root else self.nodes[parent])
        self.statements.append(number if verdict.statement else NONE if root else self.statements[parent])
        self.expressions.append(number if verdict.expression else NONE if root else self.expressions[parent])
        self.declarations.append(number if verdict.declaration else NONE if root else self.declarations[parent])
        self.places.append(first)
        self.innermost.append(number)
        return number

    def _leave(self, number: int) -> None:
        self.places.append(self.ends[number])
        self.innermost.append(max(self.parents[number], 0))

    def _outline(self, language: str) -> Outline:
        return Outline(
            language=language,
            types=tuple(self.types),
            named=np.array(self.named, dtype=bool),
            starts=np.array(self.starts, dtype=np.int64),
            ends=np.array(self.ends, dtype=np.int64),
            parents=np.array(self.parents, dtype=np.int64),
            roles=np.array([verdict.role for verdict in self.verdicts], dtype=np.int8),
            nodes=np.array(self.nodes, dtype=np.int64),
            statements=np.array(self.statements, dtype=np.int64),
            expressions=np.array(self.expressions, dtype=np.int64),
            declarations=np.array(self.declarations, dtype=np.int64),
            scopes=np.array(self.scopes, dtype=np.int8),
            places=np.array(self.places, dtype=np.int64),
            innermost=np.array(self.innermost, dtype=np.int64),
        )
