"""Edits: what masking the keys of a concept does to it and to everything else."""
