"""How an option is declared, the same in every command."""

import copy
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperCommand


def option(panel: str | None, help_text: str, *names: str, **more: Any) -> Any:
    """An option whose default is told in its help text, in a panel of the help page (None: the common options)."""
    return typer.Option(*names, help=escape(help_text), rich_help_panel=panel, show_default=False, **more)


class BriefHelp(TyperCommand):
    """A command of many options: `--help` shows the common ones and fits a screen, `--help-all` shows them all."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        brief = copy.copy(self)
        brief.params = [one for one in self.params if getattr(one, "rich_help_panel", None) is None]
        TyperCommand.format_help(brief, ctx, formatter)


def show_all(ctx: typer.Context, show: bool) -> None:
    if show:
        assert isinstance(ctx.command, TyperCommand)
        TyperCommand.format_help(ctx.command, ctx, ctx.make_formatter())
        raise typer.Exit


def help_all() -> Any:
    """The option `--help-all` of a command of the class `BriefHelp`."""
    return option(None, "Show all options.", "--help-all", callback=show_all, is_eager=True)
