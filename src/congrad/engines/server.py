"""A server that a stage starts for itself: it is waited for, and it ends with the stage, however that ends."""

import shlex
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from congrad.engines import lifeline
from congrad.errors import UserError
from congrad.settings.engine import Engine
from congrad.words import one_line, quote

START_LIMIT = 1800.0  # seconds; a large model takes many minutes to load
LEAVE_LIMIT = 20.0  # for what a killed run's server takes to end
POLL = 0.5


@contextmanager
def serve(engine: Engine, path: str, *, log: Path | None = None) -> Iterator[None]:
    """Runs `engine.command` until the end of the context, once the endpoint answers.

    The command and all that it starts are in a process group of their own, held by a lifeline (`lifeline.py`). What
    it says is appended to `log`. In the command, `{model}` stands for `path`.
    """
    if sys.platform == "win32":
        raise UserError(
            "needs Linux or macOS", "start the server yourself, and leave engine.command out", key="engine.command"
        )
    arguments = split_command(engine.command or "", path)
    deadline = time.monotonic() + LEAVE_LIMIT
    while answers(engine.endpoint):
        if time.monotonic() > deadline:
            raise UserError(
                f"a server already answers at {engine.endpoint}",
                "stop that server, or choose another port in engine.url and engine.command, or "
                "leave engine.command out to use it",
            )
        time.sleep(POLL)
    with lifeline.held(arguments, log=log) as process:
        deadline = time.monotonic() + START_LIMIT
        while not answers(engine.endpoint):
            if process.poll() is not None:
                problem = f"ended with exit code {process.returncode} before {engine.endpoint} answered"
                raise UserError(problem + last_line(log), "fix it and run the same command again", key="engine.command")
            if time.monotonic() > deadline:
                problem = f"started, but {engine.endpoint} does not answer after {START_LIMIT:g} seconds"
                raise UserError(problem + last_line(log), "check that it listens at that address", key="engine.command")
            time.sleep(POLL)
        yield


def split_command(command: str, path: str) -> list[str]:
    try:
        arguments = [argument.replace("{model}", path) for argument in shlex.split(command)]
    except ValueError as error:
        raise UserError(str(error), key="engine.command", value=quote(command)) from error
    # The programs of an environment that is not activated are next to the interpreter.
    beside = str(Path(sys.executable).parent)
    program = (shutil.which(arguments[0]) or shutil.which(arguments[0], path=beside)) if arguments else None
    if program is None:
        raise UserError("no such program", "install it, or give its path", key="engine.command", value=quote(command))
    return [program, *arguments[1:]]


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Another host is not the server that was started."""


OPENER = urllib.request.build_opener(NoRedirect, urllib.request.ProxyHandler({}))


def answers(endpoint: str) -> bool:
    """Whether a server is there and ready: it lists its models (or wants a key for that), or reports its health."""
    parts = urlsplit(endpoint)
    for path in (parts.path + "/models", "/health"):
        url = urlunsplit(parts._replace(path=path))
        try:
            with OPENER.open(url, timeout=5) as response:
                if response.status == 200:
                    return True
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (401, 403):
                return True
        except (OSError, ValueError):
            continue
    return False


def last_line(log: Path | None) -> str:
    """What a process said last, and where the rest is."""
    if log is None or not log.is_file():
        return ""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f" ({one_line(lines[-1])}; all in {log})" if lines else ""
