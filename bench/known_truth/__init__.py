"""Forty languages of which it is known which conflict: some write a decimal comma, some a decimal point."""
