"""Advice: what filtering is predicted to do, from the sketches alone, before any training."""
