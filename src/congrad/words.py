"""Figures and other people's text as a person reads them."""

JOINERS = "\u200c\u200d"


def human_bytes(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def human_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def printable(text: str) -> str:
    """Other people's text as it may reach a terminal: what is not a visible character or a space becomes a space.

    So are control characters (ESC begins a terminal's commands, a line break another line), marks that turn the
    direction of what is near them, invisible and unassigned characters and halves of surrogate pairs. The two joiners
    stay, by which Persian, the languages of India and emoji are written.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() or c in JOINERS else " " for c in text)


def printable_lines(text: str) -> str:
    """The same, of text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def quote(value: object, width: int = 60) -> str:
    """`value` in quotes and escaped, cut to `width` characters: a dataset's text is not to be trusted in a message."""
    text = repr(value)
    return text if len(text) <= width else f"{text[: width - 3]}..."


def one_line(complaint: object, width: int = 200) -> str:
    """Another program's error message on one line, cut to `width` printable characters."""
    text = " ".join(printable(str(complaint)).split())
    return text if len(text) <= width else f"{text[: width - 3]}..."
