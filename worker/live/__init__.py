"""The live server: one process owns a model, masks chosen keys and generates with and without them."""
