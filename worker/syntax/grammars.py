"""The languages that can be parsed, each with a table of rules from node types to roles of tokens.

A name's role comes from the nearest rule above it. `fields` gives the role of names below a field of a node, provided
only `passing` nodes are in between; some roles (`judge._LASTING`) reach names at any depth. A name that no rule reaches
has the role of its own type, in `names`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import tree_sitter_go
import tree_sitter_java
import tree_sitter_python
from tree_sitter import Language, Parser, Tree

from keyscope.worker.syntax.role import Role

_DEFINED, _USED, _IMPORTED = Role.IDENTIFIER_DEFINED, Role.IDENTIFIER_USED, Role.IDENTIFIER_IMPORTED
_CALL, _ATTRIBUTE, _TYPE = Role.CALL_TARGET, Role.ATTRIBUTE, Role.TYPE


@dataclass(frozen=True)
class Grammar:
    """A language with the rules for its node types."""

    language: Language
    names: Mapping[str, Role]
    """Types of leaves that are names, with their role unless a rule gives another."""
    leaves: Mapping[str, Role]
    """Named types that have one role together with all they contain."""
    nodes: Mapping[str, Role]
    """Role of names below a node."""
    fields: Mapping[tuple[str, str], Role]
    """Role of names below a field of a node; takes precedence over `nodes`."""
    passing: frozenset[str]
    """Types that pass on the role given above them."""
    members: Mapping[str, tuple[str, str]]
    """Types of `object.name`, with the fields of both: a role given above goes to the name alone."""
    resets: frozenset[str]
    """Types inside a string that contain code again."""
    statements: frozenset[str]
    expressions: frozenset[str]
    declarations: frozenset[str]
    scopes: Mapping[str, str]
    """Types that enclose code, with their kind of scope; a function directly inside a class is a method."""
    brackets: frozenset[str] = frozenset()
    """Types in which every sign is punctuation, such as the `<` and `>` around type arguments."""


def _each(kinds: str, role: Role) -> dict[str, Role]:
    return dict.fromkeys(kinds.split(), role)


def _fields(kinds: str, name: str, role: Role) -> dict[tuple[str, str], Role]:
    return {(kind, name): role for kind in kinds.split()}


def _set(kinds: str) -> frozenset[str]:
    return frozenset(kinds.split())


def _python() -> Grammar:
    return Grammar(
        language=Language(tree_sitter_python.language()),
        names={"identifier": _USED},
        leaves=_each("integer float", Role.NUMBER)
        | _each("string format_specifier type_conversion", Role.STRING)
        | _each("true false none", Role.KEYWORD)
        | _each("ellipsis keyword_separator positional_separator wildcard_import", Role.OPERATOR)
        | {"comment": Role.COMMENT},
        nodes=_each("import_statement import_from_statement future_import_statement", _IMPORTED)
        | _each("parameters lambda_parameters as_pattern_target", _DEFINED)
        | {"type": _TYPE, "decorator": _CALL},
        fields=_fields("assignment for_statement for_in_clause", "left", _DEFINED)
        | _fields("function_definition class_definition named_expression", "name", _DEFINED)
        | _fields("default_parameter typed_default_parameter", "name", _DEFINED)
        | _fields("default_parameter typed_default_parameter keyword_argument", "value", _USED)
        | _fields("class_definition", "superclasses", _TYPE)
        | _fields("keyword_argument", "name", _ATTRIBUTE)
        | _fields("call", "function", _CALL)
        | _fields("call", "arguments", _USED)
        | _fields("attribute", "attribute", _ATTRIBUTE),
        passing=_set(
            "pattern_list tuple_pattern list_pattern list_splat_pattern dictionary_splat_pattern "
            "parenthesized_expression typed_parameter default_parameter typed_default_parameter"
        ),
        members={"attribute": ("object", "attribute")},
        resets=_set("interpolation"),
        statements=_set(
            "assert_statement break_statement continue_statement delete_statement exec_statement expression_statement "
            "for_statement future_import_statement global_statement if_statement import_from_statement "
            "import_statement match_statement nonlocal_statement pass_statement print_statement raise_statement "
            "return_statement try_statement type_alias_statement while_statement with_statement"
        ),
        expressions=_set(
            "as_pattern assignment attribute augmented_assignment await binary_operator boolean_operator call "
            "comparison_operator conditional_expression dictionary dictionary_comprehension generator_expression "
            "lambda list list_comprehension named_expression not_operator parenthesized_expression set "
            "set_comprehension subscript tuple unary_operator yield"
        ),
        declarations=_set("class_definition decorated_definition function_definition"),
        scopes={"class_definition": "class", "function_definition": "function", "lambda": "lambda"},
    )


def _java() -> Grammar:
    return Grammar(
        language=Language(tree_sitter_java.language()),
        names={"identifier": _USED, "type_identifier": _TYPE},
        leaves=_each(
            "decimal_integer_literal hex_integer_literal octal_integer_literal binary_integer_literal "
            "decimal_floating_point_literal hex_floating_point_literal",
            Role.NUMBER,
        )
        | _each("string_literal character_literal", Role.STRING)
        | _each("line_comment block_comment", Role.COMMENT)
        | _each("true false null_literal this super", Role.KEYWORD)
        | _each("void_type boolean_type integral_type floating_point_type", Role.TYPE)
        | _each("asterisk underscore_pattern wildcard", Role.OPERATOR),
        nodes={"import_declaration": _IMPORTED, "package_declaration": _DEFINED, "inferred_parameters": _DEFINED}
        | _each("type_parameter labeled_statement", _DEFINED)
        | _each("type_bound type_arguments scoped_type_identifier", _TYPE),
        fields=_fields(
            "class_declaration interface_declaration enum_declaration record_declaration annotation_type_declaration "
            "enum_constant method_declaration constructor_declaration compact_constructor_declaration "
            "annotation_type_element_declaration variable_declarator formal_parameter catch_formal_parameter "
            "enhanced_for_statement resource instanceof_expression",
            "name",
            _DEFINED,
        )
        | _fields("lambda_expression", "parameters", _DEFINED)
        | _fields("method_invocation", "name", _CALL)
        | _fields("object_creation_expression", "type", _CALL)
        | _fields("annotation marker_annotation", "name", _TYPE)
        | _fields("element_value_pair", "key", _ATTRIBUTE)
        | _fields("field_access", "field", _ATTRIBUTE),
        passing=_set("scoped_identifier generic_type"),
        members={},
        resets=_set("string_interpolation"),
        statements=_set(
            "assert_statement break_statement continue_statement do_statement enhanced_for_statement "
            "explicit_constructor_invocation expression_statement for_statement if_statement import_declaration "
            "labeled_statement local_variable_declaration package_declaration return_statement switch_expression "
            "synchronized_statement throw_statement try_statement try_with_resources_statement while_statement "
            "yield_statement"
        ),
        expressions=_set(
            "array_access array_creation_expression array_initializer assignment_expression binary_expression "
            "cast_expression class_literal field_access instanceof_expression lambda_expression method_invocation "
            "method_reference object_creation_expression parenthesized_expression template_expression "
            "ternary_expression unary_expression update_expression"
        ),
        declarations=_set(
            "annotation_type_declaration class_declaration constant_declaration constructor_declaration "
            "compact_constructor_declaration enum_constant enum_declaration field_declaration interface_declaration "
            "method_declaration module_declaration record_declaration static_initializer"
        ),
        scopes=dict.fromkeys(
            ("class_declaration", "interface_declaration", "enum_declaration", "record_declaration", "class_body"),
            "class",
        )
        | {"method_declaration": "function", "lambda_expression": "lambda"}
        | dict.fromkeys(("constructor_declaration", "compact_constructor_declaration"), "constructor"),
        brackets=_set("type_arguments type_parameters"),
    )


def _go() -> Grammar:
    return Grammar(
        language=Language(tree_sitter_go.language()),
        names={
            "identifier": _USED,
            "type_identifier": _TYPE,
            "field_identifier": _ATTRIBUTE,
            "package_identifier": _USED,
            "label_name": _USED,
            "blank_identifier": _USED,
            "interpreted_string_literal_content": Role.STRING,
        },
        leaves=_each("int_literal float_literal imaginary_literal", Role.NUMBER)
        | _each("interpreted_string_literal raw_string_literal rune_literal", Role.STRING)
        | _each("true false nil iota", Role.KEYWORD)
        | {"comment": Role.COMMENT, "dot": Role.OPERATOR},
        nodes={"import_declaration": _IMPORTED, "package_clause": _DEFINED}
        | _each("qualified_type type_arguments type_elem", _TYPE),
        fields=_fields(
            "function_declaration method_declaration type_spec type_alias const_spec var_spec parameter_declaration "
            "variadic_parameter_declaration field_declaration method_elem type_parameter_declaration",
            "name",
            _DEFINED,
        )
        | _fields("short_var_declaration range_clause receive_statement", "left", _DEFINED)
        | {("type_switch_statement", "alias"): _DEFINED, ("labeled_statement", "label"): _DEFINED}
        | _fields("call_expression", "function", _CALL)
        | _fields("import_spec", "path", _IMPORTED)
        | _fields("keyed_element", "key", _ATTRIBUTE)
        | _fields("selector_expression", "field", _ATTRIBUTE)
        | _fields("qualified_type", "package", _USED)
        | _fields("qualified_type", "name", _TYPE),
        passing=_set("expression_list literal_element parenthesized_expression type_instantiation_expression"),
        members={"selector_expression": ("operand", "field")},
        resets=frozenset(),
        statements=_set(
            "assignment_statement break_statement continue_statement dec_statement defer_statement "
            "empty_statement expression_statement expression_switch_statement fallthrough_statement for_statement "
            "go_statement goto_statement if_statement import_declaration inc_statement labeled_statement "
            "package_clause receive_statement return_statement select_statement send_statement "
            "short_var_declaration type_switch_statement var_declaration const_declaration"
        ),
        expressions=_set(
            "binary_expression call_expression composite_literal func_literal index_expression "
            "parenthesized_expression selector_expression slice_expression type_assertion_expression "
            "type_conversion_expression type_instantiation_expression unary_expression"
        ),
        declarations=_set(
            "const_declaration field_declaration function_declaration method_declaration type_declaration "
            "var_declaration"
        ),
        scopes={"function_declaration": "function", "method_declaration": "method", "func_literal": "lambda"}
        | {"type_declaration": "class"},
    )


_GRAMMARS: Mapping[str, Callable[[], Grammar]] = {"python": _python, "java": _java, "go": _go}
LANGUAGES = tuple(_GRAMMARS)
"""Languages that can be parsed."""


@cache
def grammar(language: str) -> Grammar | None:
    """The grammar of a language, None if there is none."""
    make = _GRAMMARS.get(language)
    return make() if make else None


def parse(text: bytes, language: str) -> Tree | None:
    """Parse a file, syntax errors or not; None for a language without grammar."""
    rules = grammar(language)
    return None if rules is None else Parser(rules.language).parse(text)
