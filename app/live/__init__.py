"""The way to the live workers: which one serves a run, what it is asked, and what comes back."""
