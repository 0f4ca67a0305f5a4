"""Figures and other people's text as a person reads them."""


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


def quote(value: object, width: int = 60) -> str:
    """`value` in quotes and escaped, cut to `width` characters: a dataset's text is not to be trusted in a message."""
    text = repr(value)
    return text if len(text) <= width else f"{text[: width - 3]}..."


def one_line(complaint: object, width: int = 200) -> str:
    """Another program's error message on one line, cut to `width` printable characters."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(complaint)).split())
    return text if len(text) <= width else f"{text[: width - 3]}..."
