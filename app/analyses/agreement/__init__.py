"""Layer agreement: how far the prediction of each layer is that of the whole model."""
