"""What `congrad inspect` found, as tables and sentences for a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from congrad.inspecting.measure import SIDES
from congrad.tables import Cell, Number, Table, columns
from congrad.words import quote

Found = Mapping[str, Any]


def language_table(found: Found) -> Table:
    """Pairs, and what a response's length says of the label, by language."""
    rows: list[list[Cell]] = []
    for name, own in _with_all(found):
        longer = own["chosen_longer"]
        share = Number(longer["share"], ".0%", low=longer["low"], high=longer["high"]) if longer["count"] else None
        difference = None if own["mean_difference"] is None else Number(own["mean_difference"], "+,.0f")
        rows.append([name, f"{own['pairs']:,}", share, difference])
    flagged = [number for number, own in enumerate(found["languages"].values()) if own["length_tells"]]
    return Table(columns("language", "pairs", "chosen is longer", "by characters"), rows, flagged, has_total=True)


def length_table(found: Found) -> Table:
    """Characters by language and side: median, 95% and longest."""
    rows = [[name, *(_lengths(own["characters"][side]) for side in SIDES)] for name, own in _with_all(found)]
    return Table(columns("characters: median / 95% / longest", *SIDES), rows, has_total=True)


def _with_all(found: Found) -> list[tuple[str, Found]]:
    return [*found["languages"].items(), ("all", found["all"])]


def _lengths(own: Found | None) -> str | None:
    return None if own is None else f"{own['median']:,} / {own['p95']:,} / {own['longest']:,}"


def token_table(tokens: Found) -> Table:
    rows: list[list[Cell]] = []
    for name, own in (*tokens["languages"].items(), ("all", tokens["all"])):
        shares = [Number(own[key]["share"], ".1%", low=own[key]["low"], high=own[key]["high"]) for key in SHARES]
        rows.append([name, f"{own['pairs']:,}", _lengths(own["tokens"]), *shares])
    titles = ("pairs", "tokens", f"cut at {tokens['max_length']:,}", "not scored")
    return Table(columns("language", *titles), rows, has_total=True)


SHARES = ("cut", "not_scored")


def lines(found: Found) -> Iterator[str]:
    """Everything else, a sentence a line."""
    yield f"{found['pairs']:,} pairs of {found['rows']:,} rows ({found['kind']}) in {len(found['languages'])} languages"
    column = found["language_column"]
    yield "languages: " + (f"from the column {quote(column)}" if column else ELSEWHERE[found["detected"]])
    yield from found["notes"]
    for reason in found["left_out"]:
        word = "cannot be used" if reason["is_bad"] else "make no pair"
        yield f"{reason['count']:,} rows {word} ({reason['reason']}): {_first(reason)}"
    if any(reason["is_bad"] for reason in found["left_out"]):
        yield "congrad filter stops at rows that cannot be used: fix them, or leave them out with input.on_bad_row=drop"
    for key, words in SENTENCES.items():
        if found[key]["count"]:
            yield f"{found[key]['count']:,} rows {words}: {_first(found[key])}"
    yield _shared(found["shared_prompts"])
    telling = [name for name, own in found["languages"].items() if own["length_tells"]]
    if telling:
        yield (
            f"the length alone nearly gives the label in {', '.join(telling)}: a model may learn to be long or short; "
            "see loss.length_penalty"
        )


ELSEWHERE = {True: "detected in the texts", False: "from the names of files, folders, splits or configurations"}

SENTENCES = {
    "repeated": "repeat an earlier row (prompt and both responses)",
    "contradicting": "have another row of the same prompt with the sides swapped, so that the labels contradict",
    "identical_sides": "have the same text as chosen and rejected, and will not be scored",
}


def _first(found: Found) -> str:
    shown = ", ".join(found["first"][:3])
    return f"{shown}, ..." if found["count"] > 3 else shown


def _shared(shared: Found) -> str:
    lines_each = shared["perhaps_lines"]
    perhaps = (
        ""
        if lines_each is None
        else f"; all languages have {lines_each:,} rows, so that lines may be translations: gradients decide"
    )
    if not shared["count"]:
        return f"no prompt is in several languages{perhaps}"
    how = "by their text" if shared["by"] == "text" else f"by the column {quote(shared['by'])}"
    return f"{shared['count']:,} prompts are in several languages ({how}){perhaps}"


def token_lines(tokens: Found) -> Iterator[str]:
    if tokens["confidence"] is None:
        yield f"tokens of all {tokens['of']:,} pairs"
    else:
        yield (
            f"tokens of a sample of {tokens['rows']:,} of {tokens['of']:,} pairs, by language; brackets: 95% intervals "
            "(Wilson); --all for every pair"
        )
    for reason, count in tokens["not_scored"].items():
        yield f"not scored in the sample: {reason}: {count:,}"
