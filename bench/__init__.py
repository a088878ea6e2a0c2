"""Benchmarks: each is one command that prints ratios measured side by side in one run."""
