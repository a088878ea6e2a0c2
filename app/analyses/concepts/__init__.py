"""Concepts in a run: where their patterns match and which keys detect them."""
