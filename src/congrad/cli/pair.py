"""`congrad pair`: scored answers in, preference pairs out."""

from pathlib import Path
from typing import Annotated

import typer

from congrad.cli.options import option
from congrad.cli.stage_options import ConfigFile, Output, Overrides, Quiet, stage_config, stage_screen


def pair_command(
    judged: Annotated[Path, typer.Argument(help="Directory of `congrad judge`.", show_default=False)],
    output: Output,
    overrides: Overrides = None,
    generated: Annotated[
        Path | None, option(None, "Directory of `congrad generate`. [the one named generate beside JUDGED]")
    ] = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
) -> None:
    """Make preference pairs of scored answers, in TRL's layout: a dataset for `congrad filter` and for trainers.

    congrad pair scores --generated answers --output pairs pair.method=all
    """
    with stage_screen("pair", output, quiet=quiet) as listener:
        settings = stage_config(config, overrides, {}, reads=(), listener=listener)
        from congrad.selfreward.pair import run_pair

        run_pair(generated or judged.parent / "generate", judged, settings.pair, output, listener=listener)
