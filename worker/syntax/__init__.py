"""Syntax trees of source files: what kind of code each byte belongs to. Grammars are those of tree-sitter."""
