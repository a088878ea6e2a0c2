"""Which keys detect concepts: by what they fire on, by their triggers compared with chance, by what they contribute."""

from keyscope.worker.analysis.concepts.analysis import make

__all__ = ["make"]
