"""Paired benchmarks of the gradient pass against what else does the same work."""
