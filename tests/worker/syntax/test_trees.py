"""The nodes around a byte."""

import pytest

from keyscope.worker.syntax.judge import SCOPES
from keyscope.worker.syntax.outline import NONE, outline
from keyscope.worker.syntax.trees import enclosing_function, node_spans, nodes_at

CODE = b"class A:\n    def f(self):\n        if x:\n            return g(1, [h for h in y])\n\nk = lambda z: z\n"


def test_the_nodes_around_a_byte_go_from_the_innermost_to_the_file() -> None:
    kinds = [node.type for node in nodes_at(CODE, "python", CODE.index(b"1"))]
    assert kinds[:4] == ["integer", "argument_list", "call", "return_statement"]
    assert kinds[-1] == "module"


def test_spans_are_nested_and_named() -> None:
    spans = node_spans(CODE, "python")
    assert spans[0].type == "module"
    assert spans[0].depth == 0
    (call,) = [node for node in spans if node.type == "call"]
    assert CODE[call.first : call.end] == b"g(1, [h for h in y])"
    assert "return" not in {node.type for node in spans}
    assert node_spans(CODE, "cobol") == []


@pytest.mark.parametrize(
    ("token", "statement", "expression", "declaration", "scope"),
    [
        (b"(1", "return_statement", "call", "function_definition", "method"),
        (b"for", "return_statement", "list_comprehension", "function_definition", "method"),
        (b"if x", "if_statement", None, "function_definition", "method"),
        (b"z: z", "expression_statement", "lambda", None, "lambda"),
        (b"A:", None, None, "class_definition", "class"),
    ],
)
def test_the_innermost_statement_expression_declaration_and_scope_of_a_token(
    token: bytes, statement: str | None, expression: str | None, declaration: str | None, scope: str
) -> None:
    tree = outline(CODE, "python")
    assert tree is not None
    node = int(tree.at(CODE.index(token)))

    def kind(number: int) -> str | None:
        return None if number == NONE else tree.types[number]

    assert kind(tree.statements[node]) == statement
    assert kind(tree.expressions[node]) == expression
    assert kind(tree.declarations[node]) == declaration
    assert SCOPES[tree.scopes[node]] == scope


@pytest.mark.parametrize(
    ("code", "language", "place", "name"),
    [
        (CODE, "python", b"return", "f"),
        (CODE, "python", b"lambda", None),
        (b"class A { A() { int q; } void run() { r.go(() -> q2); } }", "java", b"q2", "run"),
        (b"func (t *T) Close(a int) { defer func() { q2() }() }", "go", b"q2", "Close"),
    ],
)
def test_the_function_around_a_byte_is_named(code: bytes, language: str, place: bytes, name: str | None) -> None:
    tree = outline(code, language)
    assert tree is not None
    assert enclosing_function(tree, code, code.index(place)) == name


def test_the_tree_of_deep_code_needs_no_recursion() -> None:
    deep = b"(" * 30_000 + b"1" + b")" * 30_000
    tree = outline(deep, "python")
    assert tree is not None
    assert tree.types[int(tree.at(30_000))] == "integer"
