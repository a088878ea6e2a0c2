"""What a run says about the claims of the literature: each measured on this run and judged by a rule given beforehand."""
