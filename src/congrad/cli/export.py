"""`congrad export`: the kept pairs of a run in a trainer's layout, and on a hub if asked."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from congrad.cli.options import argument, option

if TYPE_CHECKING:
    from congrad.exports import Exported


def export_command(
    run: Annotated[Path, argument("Directory of a finished run of the filter.", "RUN")],
    format: Annotated[str, option("trl, llamafactory, ms-swift, axolotl or openrlhf. [trl]", "--format", "-f")] = "trl",
    output: Annotated[Path | None, option("Directory to write. [RUN/FORMAT]", "--output", "-o")] = None,
    push_to_hub: Annotated[
        str | None, option("Upload to this dataset repository, private.", metavar="USER/NAME")
    ] = None,
    public: Annotated[bool, option("Make it public.", "--public")] = False,
    lora: Annotated[bool, option("Train a LoRA adapter, not all weights.", "--lora")] = False,
    licence: Annotated[
        str | None, option("Licence of your data, for the card, such as cc-by-4.0. [not stated]", "--license")
    ] = None,
) -> None:
    """Write the kept pairs as a trainer reads them, with the few lines of configuration it needs.

    congrad export runs/x --format llamafactory
    """
    from congrad.errors import UserError
    from congrad.exports import export_run
    from congrad.report.display import show

    if public and push_to_hub is None:
        raise UserError("--public would be ignored without --push-to-hub", "add --push-to-hub, or leave --public out")
    exported = export_run(run, format, output, licence=licence, lora=lora)
    show_exported(exported, run)
    if push_to_hub is not None:
        from congrad.exports.hub import push

        show(push(exported.directory, push_to_hub, public=public))


def show_exported(exported: "Exported", run: Path) -> None:
    """What was written, what is left out of it, what was compared, and how to train on it."""
    from congrad.exports.export import LEFT_OUT, NAMED, left_out_in_words
    from congrad.filtering.finished import KEPT
    from congrad.report.display import show

    show(f"{exported.num_pairs} pairs for {exported.format} in {exported.directory}")
    for line in left_out_in_words(exported.left_out):
        show(f"  {line}")
    for row in exported.left_out[:NAMED]:
        show(f"    line {row.line} of {run / KEPT}: {row.reason}")
    if exported.left_out:
        show(f"    all of them are in {exported.directory / LEFT_OUT}")
    for note in exported.notes:
        show(f"  {note}")
    show(f"  cd {shlex.quote(str(exported.directory))} && {exported.command}")
