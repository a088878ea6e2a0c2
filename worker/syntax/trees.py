"""The nodes of one file's syntax tree, and those around a byte."""

from dataclasses import dataclass

from keyscope.worker.syntax.grammars import grammar
from keyscope.worker.syntax.outline import NONE, Outline, outline
from keyscope.worker.syntax.role import Role, code_of

_DEFINED = code_of(Role.IDENTIFIER_DEFINED)
_FUNCTIONS = frozenset({"function", "method", "constructor"})


@dataclass(frozen=True, slots=True)
class NodeSpan:
    """A named node of a tree."""

    type: str
    first: int
    """First byte in the file's UTF-8."""
    end: int
    """The byte after its last one."""
    depth: int
    """Number of named nodes around it."""


def node_spans(text: bytes, language: str) -> list[NodeSpan]:
    """All named nodes of a file, outer ones first; none for a language without grammar."""
    tree = outline(text, language)
    if tree is None:
        return []
    spans = []
    depths: list[int] = []
    for number, parent in enumerate(tree.parents.tolist()):
        depths.append(0 if parent == NONE else depths[parent] + 1)
        if tree.named[number]:
            spans.append(NodeSpan(tree.types[number], int(tree.starts[number]), int(tree.ends[number]), depths[number]))
    return spans


def nodes_at(text: bytes, language: str, byte: int) -> list[NodeSpan]:
    """The named nodes that contain a byte, innermost first."""
    return [node for node in reversed(node_spans(text, language)) if node.first <= byte < node.end]


def enclosing_function(tree: Outline, text: bytes, byte: int) -> str | None:
    """Name of the innermost named function, method or constructor around a byte; None if there is none."""
    rules = grammar(tree.language)
    assert rules is not None
    number = int(tree.at(byte))
    while number != NONE:
        if rules.scopes.get(tree.types[number]) in _FUNCTIONS:
            return _name(tree, text, number)
        number = int(tree.parents[number])
    return None


def _name(tree: Outline, text: bytes, declaration: int) -> str | None:
    """Text of the first name that a declaration defines."""
    for number in range(declaration + 1, len(tree.types)):
        if tree.starts[number] >= tree.ends[declaration]:
            return None
        if tree.parents[number] == declaration and tree.roles[number] == _DEFINED:
            return text[tree.starts[number] : tree.ends[number]].decode("utf-8", "replace")
    return None
