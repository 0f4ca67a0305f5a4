"""`congrad inspect`: what is in a data set, before any model is loaded."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from congrad.cli.options import KeyValues, argument, option
from congrad.cli.stage_options import ConfigFile
from congrad.errors import UserError

if TYPE_CHECKING:
    from congrad.settings.read import Given


def inspect_command(
    source: Annotated[str | None, argument("Pairs: a path or a hub id.", "DATA")] = None,
    words: KeyValues = None,
    model: Annotated[str | None, option("Count its tokens, too.", "--model", "-m")] = None,
    everything: Annotated[bool, option("Tokenise all pairs, not 2,000.", "--all")] = False,
    as_json: Annotated[bool, option("Print the same as JSON.", "--json")] = False,
    config: ConfigFile = None,
) -> None:
    """Look at pairs before any model is loaded: languages, lengths, duplicates, rows that cannot be used.

    congrad inspect pairs/
    """
    from congrad.settings.read import is_override, read

    keys: list[str] = list(words or [])
    if source is not None and is_override(source):
        source, keys = None, [str(source), *keys]
    given = read(config, keys, {"input.source": ("DATA", source), "model.name": ("--model", model)})
    with given.spelled():
        inspect(given, everything=everything, as_json=as_json)


def inspect(given: "Given", *, everything: bool, as_json: bool) -> None:
    import json

    from congrad.report.display import show
    from congrad.tables import to_terminal

    found = look(given, everything=everything)
    if as_json:
        print(json.dumps(found, ensure_ascii=True, indent=1, allow_nan=False))
        return
    from congrad.inspecting import show as shown

    show(to_terminal(shown.language_table(found)), "", to_terminal(shown.length_table(found)), "", *shown.lines(found))
    if (tokens := found.get("tokens")) is not None:
        show("", to_terminal(shown.token_table(tokens)), "", *shown.token_lines(tokens))


def look(given: "Given", *, everything: bool) -> dict[str, Any]:
    """All figures; rows that cannot be used are counted, whatever the settings say of them."""
    from congrad.inspecting.measure import measure
    from congrad.inspecting.summary import summarise
    from congrad.preferences.load import read_preferences
    from congrad.settings.input import Input

    if not given.says("input.source"):
        raise UserError("is missing", "name the pairs", key="input.source")
    if everything and not given.says("model.name"):
        raise UserError("--all tokenises all pairs, and needs a tokenizer", "give --model")
    settings = replace(given.section(Input), on_bad_row="drop")
    preferences = read_preferences(settings)
    figures = summarise(preferences, measure(preferences), settings.columns.group, settings.languages)
    found = {"data": str(Path(settings.source)), **figures}
    if given.says("model.name"):
        from congrad.inspecting.tokens import look_at_tokens
        from congrad.models.load import tokenizer_of
        from congrad.settings.model import Model

        tokenizer = tokenizer_of(given.section(Model))
        found["tokens"] = look_at_tokens(preferences, tokenizer, settings, everything=everything)
    return found
