"""`congrad settings`: the tree of all settings, a line each."""

from typing import Annotated

from congrad.cli.options import argument
from congrad.errors import UserError


def settings_command(
    prefix: Annotated[str, argument("Beginning of a key: selection, rounds.lora.", "[PREFIX]")] = "",
) -> None:
    """Show every setting with its default: a key of YAML files, KEY=VALUE on a command line, an attribute in Python.

    congrad settings selection
    """
    import shutil
    import textwrap

    from congrad.settings.reference import lines
    from congrad.settings.section import unknown
    from congrad.settings.tree import SECTIONS

    found = list(lines(prefix))
    if not found:
        raise UserError(*unknown(prefix.partition(".")[0], SECTIONS), key=prefix)
    titles = [f"{line.key}{f' = {line.default}' if line.default not in ('', 'required') else ''}" for line in found]
    width = max(40, shutil.get_terminal_size().columns)
    for title, line in zip(titles, found, strict=True):
        print(title + ("  (required)" if line.default == "required" else ""))
        print(textwrap.fill(line.meaning, width, initial_indent="    ", subsequent_indent="    "))
