"""`congrad groups`: a data set for every group of languages that are best trained together."""

import math
from pathlib import Path
from typing import Annotated

from congrad.cli.options import argument, option


def groups_command(
    run: Annotated[Path, argument("Directory of a finished run of the filter.", "RUN")],
    output: Annotated[Path, option("Directory to write; new or empty.", "--output", "-o")],
    groups: Annotated[int | None, option("How many groups. [as many as are recommended]", "--groups", "-n")] = None,
    all_pairs: Annotated[bool, option("Write the dropped pairs, too.", "--all")] = False,
    epochs: Annotated[float | None, option("Epochs of the training. [advice.epochs]", "--epochs")] = None,
    batch_size: Annotated[int | None, option("Pairs of one step. [advice.batch_size]", "--batch-size")] = None,
) -> None:
    """Divide the languages into groups to train apart, and write the pairs of each.

    congrad groups runs/x --output groups
    """
    from congrad.report.display import show
    from congrad.settings.advice import Advice

    given = {"epochs": epochs, "batch_size": batch_size}
    advice = Advice(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    from congrad.exports.groups import write_groups

    written = write_groups(run, output, advice, num_groups=groups, kept_only=not all_pairs)
    for group in written.groups:
        languages = f"{len(group.languages)} language{'s' if len(group.languages) > 1 else ''}"
        show(f"{written.directory / group.file}: {group.num_pairs} pairs, {languages} ({', '.join(group.languages)})")
    low, high = written.over_together.interval
    budget = f"for {advice.epochs:g} epoch{'' if advice.epochs == 1 else 's'} in batches of {advice.batch_size}"
    if math.isnan(written.over_together.value):
        show(f"predicted, to first order, {budget}: these pairs gain nothing together")
    else:
        show(
            f"predicted, to first order, {budget}: these groups gain {written.over_together.value:+.0%} over training "
            f"together (95%: {low:+.0%} to {high:+.0%}), random groups of the same sizes {written.random:+.0%}"
        )
    if not written.recommended:
        show("no division is recommended: none gains clearly over training together")
