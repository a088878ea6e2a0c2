"""Syntax: what kinds of code keys fire on."""
