"""The pages on which a model reads and writes: live masks, lens, activations and jobs."""
