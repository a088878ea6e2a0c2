"""Which keys detect concepts: by what they fire on, by their triggers against chance, and by what they give."""

from keyscope.worker.analysis.concepts.analysis import make

__all__ = ["make"]
