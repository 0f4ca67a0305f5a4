"""Replies of an engine, each kept as it comes, and asked for once."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from congrad.errors import UserError
from congrad.selfreward.engines import OpenEngine, Request, RequestRefused
from congrad.stage import RowLog


def collect_replies(
    engine: Callable[[], OpenEngine],
    requests: Sequence[Request],
    path: Path,
    where: Callable[[str], str],
    on_progress: Callable[[int], None],
) -> dict[str, dict[str, Any]]:
    """The replies to requests, by key; goes on with those that are in the log at `path`.

    Args:
        engine: gives the open engine, where any reply is missing.
        where: names what a request came from, by its key.
        on_progress: told of how many are there.

    Raises:
        UserError: the engine cannot take a request, or cannot go on.
    """
    with RowLog(path) as log:
        on_progress(len(log.rows))
        if any(request.key not in log.rows for request in requests):
            try:
                for group in engine().generate(requests, log.rows.keys()):
                    log.append([vars(reply) for reply in group])
                    on_progress(len(log.rows))
            except RequestRefused as error:
                raise UserError(f"{where(error.request_key)}: {error}") from error
        return {request.key: log.rows[request.key] for request in requests}
