"""`congrad advise`: what filtering is predicted to do, from the index of a run."""

import sys
from pathlib import Path
from typing import Annotated

from congrad.cli.options import KeyValues, argument, option
from congrad.cli.stage_options import ConfigFile, Quiet
from congrad.errors import UserError


def advise_command(
    run: Annotated[Path, argument("Directory of a finished run of the filter.", "RUN")],
    words: KeyValues = None,
    epochs: Annotated[str | None, option("Epochs of the training to come. [1]")] = None,
    batch_size: Annotated[str | None, option("Its pairs a step, on all devices together. [32]")] = None,
    json: Annotated[bool, option("Print what advice.json holds.", "--json")] = False,
    config: ConfigFile = None,
    quiet: Quiet = False,
) -> None:
    """Say whether filtering will help and how much to keep, before training.

    congrad advise runs/x --epochs 2 --batch-size 64
    """
    from congrad.cli.filter import advice_of
    from congrad.settings.read import read

    flags = {"advice.epochs": ("--epochs", epochs), "advice.batch_size": ("--batch-size", batch_size)}
    given = read(config, list(words or []), flags)
    with given.spelled():
        settings = advice_of(given)
        if given.says("advice.watch") and not given.is_from_file("advice.watch"):
            problem = f"would be ignored: {run} is a run and has its index already"
            raise UserError(problem, "give it to congrad filter, with the data", key="advice.watch")
        from congrad.files import json_line
        from congrad.filtering.advise import advise_run
        from congrad.report.display import display, say
        from congrad.report.screen import follow_command, show_advice

        with display(quiet=quiet) as showing:
            found = advise_run(run, settings, showing.listener)
    if json:
        sys.stdout.buffer.write(json_line(found))
        return
    show_advice(found)
    if not quiet:
        say(f"next: {follow_command(run, found)}")
