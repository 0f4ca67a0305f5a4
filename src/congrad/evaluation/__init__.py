"""Evaluation: held-out preferences, win rates and alignment tax of every model of a run, in one table."""
