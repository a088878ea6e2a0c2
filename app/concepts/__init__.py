"""Concepts that people define, stored with all versions, and previewed on a run's windows."""
