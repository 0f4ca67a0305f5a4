"""How an option is declared, the same in every command."""

from typing import Any

import typer
from rich.markup import escape


def option(panel: str | None, help_text: str, *names: str, **more: Any) -> Any:
    """An option whose default is told in its help text, in a panel of the help page (None: the common options)."""
    return typer.Option(*names, help=escape(help_text), rich_help_panel=panel, show_default=False, **more)
