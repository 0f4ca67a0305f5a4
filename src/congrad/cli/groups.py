"""`congrad groups`: a data set for every group of languages that are best trained together."""

import math
from pathlib import Path
from typing import Annotated

from congrad.cli.options import KeyValues, argument, option
from congrad.cli.stage_options import ConfigFile


def groups_command(
    run: Annotated[Path, argument("Finished run of the filter.", "RUN")],
    output: Annotated[Path, option("New or empty directory.", "--output", "-o")],
    words: KeyValues = None,
    groups: Annotated[int | None, option("How many. [as recommended]", "--groups", "-n")] = None,
    all_pairs: Annotated[bool, option("Write the dropped pairs, too.", "--all")] = False,
    epochs: Annotated[str | None, option("Epochs of the training to come. [1]")] = None,
    batch_size: Annotated[str | None, option("Its pairs a step. [32]")] = None,
    config: ConfigFile = None,
) -> None:
    """Divide the languages into groups to train apart, and write the pairs of each.

    congrad groups runs/x --output groups
    """
    from congrad.cli.filter import advice_of
    from congrad.report.display import show
    from congrad.settings.read import read

    flags = {"advice.epochs": ("--epochs", epochs), "advice.batch_size": ("--batch-size", batch_size)}
    given = read(config, list(words or []), flags)
    with given.spelled():
        advice = advice_of(given)
        from congrad.advice.budget import Budget
        from congrad.exports.groups import write_groups

        written = write_groups(run, output, advice, num_groups=groups, kept_only=not all_pairs)
    for group in written.groups:
        languages = f"{len(group.languages)} language{'s' if len(group.languages) > 1 else ''}"
        show(f"{written.directory / group.file}: {group.num_pairs} pairs, {languages} ({', '.join(group.languages)})")
    low, high = written.over_together.interval
    budget = f"for {Budget.of(advice).in_words}"
    if math.isnan(written.over_together.value):
        show(f"predicted, to first order, {budget}: these pairs gain nothing together")
    else:
        show(
            f"predicted, to first order, {budget}: these groups gain {written.over_together.value:+.0%} over training "
            f"together (95%: {low:+.0%} to {high:+.0%}), random groups of the same sizes {written.random:+.0%}"
        )
    if not written.recommended:
        show("no division is recommended: none gains clearly over training together")
