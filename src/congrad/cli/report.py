"""`congrad report`: the page on a finished run, and its figures for a paper."""

from pathlib import Path
from typing import Annotated

from congrad.cli.options import argument, option


def report_command(
    run: Annotated[Path, argument("Directory of a finished run of the filter, or of a loop.", "RUN")],
    output: Annotated[Path | None, option("The page. [RUN/report.html]", "--output", "-o")] = None,
    figures: Annotated[Path | None, option("Directory to save the figures in, as SVG and PNG.", metavar="DIR")] = None,
) -> None:
    """Write one HTML file that shows what a run found; it opens offline.

    congrad report runs/x
    """
    from congrad.report.display import show
    from congrad.report.write import write_report

    show(f"report: {write_report(run, output)}")
    if figures is not None:
        from congrad.report.figures import write_figures

        for path in write_figures(run, figures):
            show(f"figure: {path}")
