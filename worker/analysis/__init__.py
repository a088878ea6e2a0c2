"""Analyses of what keys do, run on a loaded model after the precompute."""
