"""What the commands of single stages have in common: a configuration whose sections they read, and how they end."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from congrad.cli.options import option

if TYPE_CHECKING:
    from congrad.loop.config import RunConfig

Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Settings, generate.temperature=0.5", metavar="[KEY=VALUE]...", show_default=False),
]
Output = Annotated[Path, option(None, "Directory of the stage.", "--output", "-o")]
ConfigFile = Annotated[Path | None, option(None, "YAML file of a run, for the sections it reads.", "--config", "-c")]
ModelName = Annotated[str | None, option(None, "Path, hub id, or short name. [model.name]", "--model", "-m")]
Quiet = Annotated[bool, option(None, "Show nothing but mistakes.", "--quiet", "-q")]


def stage_config(
    config: Path | None, overrides: Sequence[str] | None, given: Mapping[str, Any], *, reads: Sequence[str]
) -> "RunConfig":
    """The configuration of a stage that reads the sections `reads`; of `given`, None is left out.

    Raises:
        UserError: as `read_config`.
    """
    from congrad.errors import UserError
    from congrad.loop.config import PLACEHOLDERS, read_config

    named = [word.startswith("model.") for word in overrides or []]
    if "model" in reads and config is None and given.get("model.name") is None and not any(named):
        raise UserError("no model is named; give --model, or a --config with a section model")
    said = {key: value for key, value in given.items() if value is not None}
    return read_config(config, overrides or [], given=said, unread=[name for name in PLACEHOLDERS if name not in reads])


@contextmanager
def stage_screen(stage: str, output: Path, *, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """The bar of a stage while it works and its table when it has ended well, both of a launcher's first process."""
    from rich.console import Console

    from congrad.report.loop import show_stage, stage_bar

    quiet = quiet or os.environ.get("RANK", "0") != "0"
    with stage_bar(quiet=quiet) as on_progress:
        yield on_progress
    if not quiet:
        show_stage(stage, output, stage, Console(highlight=False, soft_wrap=True))
