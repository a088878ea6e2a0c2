"""The live demo: three generations side by side, what the keys do elsewhere, and a tour."""
