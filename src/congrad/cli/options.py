"""How flags and KEY=VALUE are declared, the same in every command."""

from typing import Annotated, Any

import typer
from rich.markup import escape

KeyValues = Annotated[
    list[str] | None,
    typer.Argument(help="Settings, as congrad settings lists them.", metavar="[KEY=VALUE]...", show_default=False),
]


def option(help_text: str, *names: str, **more: Any) -> Any:
    """An option whose default is said in its help text."""
    return typer.Option(*names, help=escape(help_text), show_default=False, **more)
