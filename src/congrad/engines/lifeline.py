"""Processes that end with the one that started them, even where that is killed.

This file is also a program, `lifeline.py COMMAND...`: it runs the command in a group of its own until its standard
input closes, which the kernel does when the process with the other end is gone.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

GRACE = 10.0  # seconds between asking a group to end and killing it


@contextmanager
def held(arguments: Sequence[str], *, log: Path | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs a command until the end of the context; what it says is appended to `log`.

    Yields:
        The process that holds the command. It ends when the command does, with its exit code.
    """
    with log.open("ab") if log else open(os.devnull, "ab") as output:
        process = subprocess.Popen(  # noqa: S603 - no shell, and the command is the user's own
            [sys.executable, "-I", __file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # an interrupt at the keyboard is for us alone: we close the lifeline then
        )
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()


def main(arguments: list[str]) -> int:
    child = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - as above
    threading.Thread(target=end_with_input, args=(child,), daemon=True).start()
    code = child.wait()
    end_group(child.pid, signal.SIGKILL)  # what it left behind
    return code if code >= 0 else 128 - code


def end_with_input(child: "subprocess.Popen[bytes]") -> None:
    while os.read(0, 1024):
        pass
    end_group(child.pid, signal.SIGTERM)
    try:
        child.wait(GRACE)
    except subprocess.TimeoutExpired:
        end_group(child.pid, signal.SIGKILL)


def end_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
