"""The self-rewarding loop: rounds of generate, judge, pair, filter and train, and an evaluation at the end."""
