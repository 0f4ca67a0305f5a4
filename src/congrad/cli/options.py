"""How flags and KEY=VALUE are declared, the same in every command."""

from typing import Annotated, Any

import typer
from rich.markup import escape


def option(help_text: str, *names: str, **more: Any) -> Any:
    """An option whose default is said in its help text."""
    return typer.Option(*names, help=escape(help_text), show_default=False, **more)


def argument(help_text: str, metavar: str | None = None, **more: Any) -> Any:
    """An argument whose default is said in its help text."""
    return typer.Argument(help=escape(help_text), metavar=metavar, show_default=False, **more)


KeyValues = Annotated[list[str] | None, argument("Settings, as congrad settings lists them.", "[KEY=VALUE]...")]
