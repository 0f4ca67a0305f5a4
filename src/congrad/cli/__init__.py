"""The command line: one file a command, which parses and calls."""

from congrad.cli.app import app, main

__all__ = ["app", "main"]
