"""What masking a concept's keys does to the concept and to everything else, compared with masks of other keys."""

from keyscope.worker.analysis.edit.analysis import make

__all__ = ["make"]
