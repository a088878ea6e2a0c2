"""What the worker writes and the app reads: key names, the run file and the live wire models."""
