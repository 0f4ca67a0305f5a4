"""What the commands of single stages have in common: where their settings come from, and how they end."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from congrad.cli.options import option
from congrad.errors import UserError
from congrad.models.ranks import is_first
from congrad.progress import Listener

if TYPE_CHECKING:
    from congrad.settings.model import Model
    from congrad.settings.read import Given

Output = Annotated[Path, option("Directory of the stage.", "--output", "-o")]
ConfigFile = Annotated[Path | None, option("YAML file with settings.", "--config", "-c", metavar="FILE")]
ModelName = Annotated[str | None, option("Path, hub id, or short name. [model.name]", "--model", "-m")]
Quiet = Annotated[bool, option("Show nothing but mistakes.", "--quiet", "-q")]


def model_of(given: "Given") -> "Model":
    """The model that the settings name; that they name none, or what the filter alone reads, is a `UserError`."""
    from congrad.settings.model import Model

    with given.spelled():
        if not given.says("model.name"):
            raise UserError("is missing", "give --model, or a --config with a section model", key="model.name")
        model = given.section(Model)
        model.check_plain()
    return model


def warn_if_slow(model: "Model", listener: Listener) -> None:
    """Notes where another dtype would be faster than the one that was asked for; a stage settles `auto` itself."""
    from congrad.models.compute import settle_dtype

    if model.dtype != "auto" and is_first():
        settle_dtype(model, listener=listener)


@contextmanager
def stage_screen(stage: str, output: Path, given: "Given", *, quiet: bool) -> Iterator[Listener]:
    """What is shown of a stage while it works, and its table when it has ended well, by a launcher's first process.

    Settings are read before, and what does the work is imported within.
    """
    from congrad.report.display import display

    with given.spelled(), display(quiet=quiet) as showing:
        yield showing.listener
    if not quiet and is_first():
        from congrad.report.loop import show_stage

        show_stage(stage, output, stage)
