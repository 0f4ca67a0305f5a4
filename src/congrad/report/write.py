"""report.html of a run: of the filter, or of a loop with the filters inside."""

from pathlib import Path

from congrad.files import write_atomically
from congrad.filtering.finished import read_run
from congrad.report.filter_page import filter_page
from congrad.report.loop_page import loop_page
from congrad.report.rounds import is_congrad, is_loop, read_loop
from congrad.stage import refuse_link

NAME = "report.html"


def write_report(directory: str | Path, output: str | Path | None = None) -> Path:
    """Writes the report of a run and returns its path; for a loop also those of its filters that have none.

    Args:
        directory: of a finished run of the filter, or of a loop that has begun.
        output: of the page; None for report.html in the run.

    Raises:
        UserError: the run is unfinished or damaged, or the place cannot be written.
    """
    directory = Path(directory)
    path = directory / NAME if output is None else Path(output)
    if not is_loop(directory):
        write_atomically(path, filter_page(read_run(directory)))
        return path
    loop = read_loop(directory)
    for place in (each.directory / "filter" for each in loop.rounds):
        if is_congrad(place) and not (place / NAME).is_file():
            for part in [place, *place.parents][: len(place.relative_to(directory).parts)]:
                refuse_link(part)
            write_atomically(place / NAME, filter_page(read_run(place)))
    write_atomically(path, loop_page(loop, path.parent))
    return path
