"""Languages: what a data set's name of one means, and which one a text is in."""
