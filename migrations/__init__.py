"""The history of the labels database's schema."""
