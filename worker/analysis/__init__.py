"""What keys do: analyses of a loaded model beyond the precompute."""
