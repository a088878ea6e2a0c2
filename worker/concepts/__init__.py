"""Concepts in the corpus: where their patterns match, and which tokens belong to them."""
