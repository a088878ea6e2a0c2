"""Everything that touches torch: the model, the precompute, the analyses and the live server."""
