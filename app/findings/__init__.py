"""Claims of the literature, each measured on a run and judged by a rule fixed beforehand."""
