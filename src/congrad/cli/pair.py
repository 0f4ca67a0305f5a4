"""`congrad pair`: scored answers in, preference pairs out."""

from pathlib import Path
from typing import Annotated

from congrad.cli.options import KeyValues, argument, option
from congrad.cli.stage_options import ConfigFile, Output, Quiet, stage_screen


def pair_command(
    judged: Annotated[Path, argument("Directory of `congrad judge`.")],
    output: Output,
    words: KeyValues = None,
    generated: Annotated[Path | None, option("Directory of `congrad generate`. [generate, next to JUDGED]")] = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
) -> None:
    """Make preference pairs of scored answers, in TRL's layout: a dataset for `congrad filter` and for trainers.

    congrad pair scores --generated answers --output pairs pair.method=all
    """
    from congrad.settings.read import read
    from congrad.settings.selfreward import Pair

    given = read(config, words or [])
    settings = given.section(Pair)
    with stage_screen("pair", output, given, quiet=quiet) as listener:
        from congrad.selfreward.pair import run_pair

        run_pair(generated or judged.parent / "generate", judged, settings, output, listener=listener)
