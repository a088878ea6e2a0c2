"""Firing: when keys fire, and what their weights are for."""
