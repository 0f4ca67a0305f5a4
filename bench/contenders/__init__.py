"""One program per contender: each loads the model, does the same work once and prints one line of JSON."""
