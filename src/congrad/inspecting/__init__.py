"""A look at preference pairs before any model is loaded: what is in them, and what cannot be used."""
