"""Advice: what filtering, grouping and weighing languages will do to held-out pairs, predicted before any training."""
