"""The kinds of analysis, one room each, and what their pages have in common."""
