"""Loading a model, finding its feed-forward layers, reading and masking their coefficients."""
