"""Timings of cohortflow beside its peers and limits: `python -m bench [NAME...]`."""
