"""From corpus sources to an ordered stream of clean source files; knows nothing about models or tokens."""
