"""Concepts that people define: kept in the labels database with every version, and tried on a run's windows."""
