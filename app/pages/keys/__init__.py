"""The pages that browse a run: runs, overview, layers, keys with their labels, and search."""
