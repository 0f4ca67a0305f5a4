"""The commands, and how each of them ends: a mistake of the user's or a refusal of their machine is one line and exit
code 2, an interruption 130."""

import functools
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

import typer

from congrad.cli.advise import advise_command
from congrad.cli.env import env_command
from congrad.cli.evaluate import evaluate_command
from congrad.cli.export import export_command
from congrad.cli.filter import FilterCommand, filter_command
from congrad.cli.generate import generate_command
from congrad.cli.groups import groups_command
from congrad.cli.inspect import inspect_command
from congrad.cli.judge import judge_command
from congrad.cli.pair import pair_command
from congrad.cli.report import report_command
from congrad.cli.run import run_command
from congrad.cli.settings import settings_command
from congrad.cli.streams import flush, leave, make_usable
from congrad.cli.train import train_command
from congrad.errors import UserError
from congrad.machine import refused
from congrad.settings.model import switch

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Filter multilingual preference pairs by the update direction that the languages agree on.",
)


def version(show: bool) -> None:
    if show:
        from importlib.metadata import version as installed

        typer.echo(f"congrad {installed('congrad')}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    switch()  # a mistake in the environment is said by every command, before it does anything


def interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """The command, but an interruption is said; Typer would leave without a word, and take some bugs for one."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except KeyboardInterrupt:
            print("congrad: interrupted; run the same command again to continue where it stopped", file=sys.stderr)
            raise typer.Exit(130) from None
        except EOFError as error:
            raise RuntimeError("a file ends too early") from error

    return run


# In the order of the help page.
app.command("inspect")(interruptible(inspect_command))
app.command("filter", cls=FilterCommand)(interruptible(filter_command))
app.command("advise")(interruptible(advise_command))
app.command("report")(interruptible(report_command))
app.command("export")(interruptible(export_command))
app.command("groups")(interruptible(groups_command))
app.command("run")(interruptible(run_command))
app.command("generate")(interruptible(generate_command))
app.command("judge")(interruptible(judge_command))
app.command("pair")(interruptible(pair_command))
app.command("train")(interruptible(train_command))
app.command("evaluate")(interruptible(evaluate_command))
app.command("settings")(interruptible(settings_command))
app.command("env")(interruptible(env_command))


def main() -> None:
    """Entry point."""
    make_usable()
    try:
        code = exit_code()
        flush()
    except BrokenPipeError:  # whoever read the output has all that they wanted
        leave(sys.stdout)
        leave(sys.stderr)
        code = 1
    except UserError as error:
        code = told(error)
    sys.exit(code)


def exit_code() -> int:
    """Runs the command of the process; what is wrong is said."""
    try:
        app()
    except SystemExit as end:  # Typer's last word, whatever happened
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except (UserError, BrokenPipeError):
        raise
    except Exception as error:
        flush()  # that the output cannot be written may be all that is wrong
        if (found := refused(error)) is not None:
            return told(found)
        from congrad.report.display import show_traceback

        show_traceback()
        advice = "please report it with the lines above and what `congrad env` prints"
        print(f"congrad: this is a bug; {advice}", file=sys.stderr)
    return 1


def told(error: UserError) -> int:
    """Says what is wrong, where there is anybody to hear it; the exit code."""
    with suppress(OSError):
        print("congrad:", error, file=sys.stderr)
    return 2
