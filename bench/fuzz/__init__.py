"""Hostile inputs for every command, drawn from a seed: what each is, what must hold, and how it is run."""
