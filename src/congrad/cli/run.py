"""`congrad run`: a configuration in, a run directory of all rounds out."""

from pathlib import Path
from typing import Annotated, Literal

from congrad.cli.options import KeyValues, argument, option


def run_command(
    config: Annotated[Path, argument("The run's YAML file.", "CONFIG", dir_okay=False)],
    words: KeyValues = None,
    output: Annotated[Path | None, option("Directory of the run. [runs/NAME of the file]", "--output", "-o")] = None,
    until: Annotated[
        Literal["generate", "judge", "pair", "filter", "train", "evaluate"] | None,
        option("Stop after generate, judge, pair, filter, train or evaluate.", metavar="STAGE"),
    ] = None,
    dry_run: Annotated[bool, option("Show the stages, their counts and costs.", "--dry-run")] = False,
    quiet: Annotated[bool, option("Show the evaluation only.", "--quiet", "-q")] = False,
) -> None:
    """Run rounds of generate, judge, pair, filter and train, then evaluate. After a crash, the same command continues.

    \bcongrad run run.yaml --output runs/loop
    congrad run run.yaml --output runs/loop --until judge
    """
    from congrad.loop.check import check
    from congrad.loop.config import glance_at_inputs, run_config
    from congrad.models.ranks import is_first
    from congrad.report.display import display, show
    from congrad.settings.read import read

    given = read(config, words or [])
    settings = run_config(given)
    with given.spelled(), display(quiet=quiet) as showing:
        showing.stage("reading the settings")
        check(settings)
        glance_at_inputs(settings)
        showing.stage("starting PyTorch")
        from congrad.engines.open import tell_of_keys
        from congrad.loop.dry_run import costs
        from congrad.loop.run import run_loop
        from congrad.report.loop import costs_table, loop_listener

        output = output or Path("runs") / config.stem
        if dry_run:
            tell_of_keys(showing.listener, settings.engines)
            found = costs(settings, output)
            showing.rest()
            show(costs_table(found))
            return
        run_loop(settings, output, until=until, listener=loop_listener(showing, quiet=quiet))
    if is_first() and settings.report.write:
        from congrad.report.screen import show_report

        show_report(output, quiet=quiet)
