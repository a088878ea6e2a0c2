"""Everything that touches torch: the model, the precompute and the live server."""
