"""Syntax trees of source files, by tree-sitter: the kind of code each byte belongs to."""
