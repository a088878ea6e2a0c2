"""Who is at the other end of a request, and what they may do."""
