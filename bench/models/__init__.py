"""Every causal language model that transformers registers: a tiny random one of each, through the filter's passes."""
