"""What the commands of single stages have in common: a configuration whose sections they read, and how they end."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from congrad.cli.options import option
from congrad.models.ranks import is_first
from congrad.progress import SILENT, Listener

if TYPE_CHECKING:
    from congrad.loop.config import RunConfig
    from congrad.models.settings import Model

Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Settings, generate.temperature=0.5", metavar="[KEY=VALUE]...", show_default=False),
]
Output = Annotated[Path, option(None, "Directory of the stage.", "--output", "-o")]
ConfigFile = Annotated[Path | None, option(None, "YAML file of a run, for the sections it reads.", "--config", "-c")]
ModelName = Annotated[str | None, option(None, "Path, hub id, or short name. [model.name]", "--model", "-m")]
Quiet = Annotated[bool, option(None, "Show nothing but mistakes.", "--quiet", "-q")]


def stage_config(
    config: Path | None,
    overrides: Sequence[str] | None,
    given: Mapping[str, Any],
    *,
    reads: Sequence[str],
    listener: Listener = SILENT,
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
    unread = [name for name in PLACEHOLDERS if name not in reads]
    return read_config(config, overrides or [], given=said, unread=unread, glances=True, listener=listener)


def warn_if_slow(model: "Model", listener: Listener) -> None:
    """Says of a dtype that was asked for whether another one would be faster; `auto` is settled by the stage itself."""
    from congrad.models.compute import settle_dtype

    if model.dtype != "auto" and is_first():
        settle_dtype(model, listener=listener)


@contextmanager
def stage_screen(stage: str, output: Path, *, quiet: bool) -> Iterator[Listener]:
    """What is shown of a stage while it works, and its table when it has ended well, by a launcher's first process.

    Within it a command reads its settings before it imports what does the work.
    """
    from congrad.report.display import display

    with display(quiet=quiet) as showing:
        showing.stage("reading the settings")
        yield showing.listener
    if not quiet and is_first():
        from rich.console import Console

        from congrad.report.loop import show_stage

        show_stage(stage, output, stage, Console(highlight=False, soft_wrap=True))
