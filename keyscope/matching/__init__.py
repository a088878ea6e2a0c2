"""People's patterns, matched in a child process that can be stopped at any moment and whose memory is bounded."""
