"""From a corpus to a run file: corpus → windows → streaming top-k → one ordered merge."""
