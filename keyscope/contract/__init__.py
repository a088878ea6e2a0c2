"""What the worker writes and the app reads: key names, run files and the models of the wire."""
