"""The three standard streams of a process, whatever they were started with: closed, a pipe that nobody reads, a full
disk, a terminal that knows no Unicode."""

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

from congrad.errors import UserError


def make_usable() -> None:
    """Opens those that are closed, since the next file would get their numbers, and what libraries print would be
    written into it. Characters that a terminal does not have are shown by their numbers.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - until the process ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Writes what is still held back; else Python does when it ends, and says of an error that it was ignored.

    Raises:
        BrokenPipeError: whoever read it has gone.
        UserError: it cannot be written.
    """
    failed = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            leave(stream)
            failed = failed or error
    if isinstance(failed, BrokenPipeError):
        raise failed
    if failed is not None:
        raise UserError(f"cannot be written ({failed.strerror})", "send it elsewhere", at="the output") from failed


def leave(stream: TextIO) -> None:
    """Sends what is held back nowhere."""
    with suppress(io.UnsupportedOperation), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
