"""Tables as data, and their printers: for a terminal, for Markdown and for HTML. Each escapes what it is given.

Titles and texts may come from a data set. No printer lets them act as markup, break a cell or hide what is near them.
"""

import html
import re
import textwrap
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import rich.table
from rich.text import Text

from congrad.words import printable

MISSING, MINUS = "–", "−"
NARROW = 8  # characters of a title that are not broken
WIDTH = 80  # characters of a text in Markdown
PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {0x7F: 0x2421}


@dataclass(frozen=True)
class Number:
    """A figure, and where there are any its 95% or other interval and its difference from another figure.

    Attributes:
        value: printed by `form`, a format specification, after multiplication with `scale`.
    """

    value: float
    form: str = ".2f"
    scale: float = 1
    low: float | None = None
    high: float | None = None
    delta: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None

    @property
    def interval(self) -> str:
        """`[55.1, 67.0]`, or nothing."""
        return "" if self.low == self.high else self._interval(self.low, self.high)

    def difference(self, *, brief: bool = False) -> str:
        """`+11.2 [+5.1, +17.0]`, without the interval when brief; or nothing."""
        if self.delta is None:
            return ""
        return _joined(
            self._text(self.delta, "+"), "" if brief else self._interval(self.delta_low, self.delta_high, "+")
        )

    @property
    def is_clear(self) -> bool:
        """Whether the interval of the difference leaves zero out."""
        low, high = self.delta_low, self.delta_high
        return low is not None and high is not None and (low > 0 or high < 0)

    def __str__(self) -> str:
        return self._text(self.value)

    def _interval(self, low: float | None, high: float | None, sign: str = "") -> str:
        return "" if low is None or high is None else f"[{self._text(low, sign)}, {self._text(high, sign)}]"

    def _text(self, value: float, sign: str = "") -> str:
        text = format(value * self.scale, sign + self.form)
        return re.sub(r"^[-+](0\.?0*%?)$", r"\1", text)  # no -0.0


@dataclass(frozen=True)
class Link:
    """A text that leads somewhere on a page."""

    text: str
    address: str


Cell = str | Number | Link | None
"""None: there is nothing to show."""


@dataclass(frozen=True)
class Column:
    title: str
    right: bool = True


@dataclass(frozen=True)
class Table:
    """Rows of cells, of which the first names the row.

    Attributes:
        flagged: numbers of the rows that need a look.
        has_total: the last row is about the others together.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    flagged: Collection[int] = ()
    has_total: bool = False


def columns(first: str, *others: str) -> list[Column]:
    """The columns of the usual table: names on the left, then numbers."""
    return [Column(first, right=False), *map(Column, others)]


def cleaned(text: str) -> str:
    """Text on one line without control characters and marks that turn its direction, and without spare spaces."""
    return " ".join(printable(text).split())


# Terminal


def to_terminal(table: Table, *, dense: bool = False, brief: bool = False) -> rich.table.Table:
    """The table for a terminal.

    Args:
        dense: one space between columns, and titles broken between their words.
        brief: no intervals, and a difference beside its figure instead of below.
    """
    shown = rich.table.Table(box=None, pad_edge=False, collapse_padding=dense, header_style="bold")
    rows = [[_terminal_cell(cell, brief) for cell in row] for row in table.rows]
    for number, column in enumerate(table.columns):
        title = cleaned(column.title)
        if dense and title:  # no wider than its longest word or what stands below
            below = [len(line) for row in rows for line in row[number].plain.splitlines()]
            title = textwrap.fill(title, max([NARROW, *map(len, title.split()), *below]), break_long_words=False)
        shown.add_column(Text(title), justify="right" if column.right else "left", overflow="fold")
    for number, row in enumerate(rows):
        shown.add_row(*row, style="red" if number in table.flagged else "")
    return shown


def _terminal_cell(cell: Cell, brief: bool) -> Text:
    if not isinstance(cell, Number):
        return Text(_plain(cell))
    text = Text(_joined(str(cell), "" if brief else cell.interval))
    if difference := cell.difference(brief=brief):
        text.append(" " if brief else "\n")
        text.append(difference, style="bold" if cell.is_clear else "")
    return text


def _plain(cell: str | Link | None) -> str:
    return MISSING if cell is None else cleaned(cell.text if isinstance(cell, Link) else cell)


def _joined(*parts: str) -> str:
    return " ".join(filter(None, parts))


# Markdown


def escape(text: str, width: int | None = WIDTH) -> str:
    """Text that Markdown shows as it is, on one line, cut to `width` characters."""
    kept = cleaned(text)
    kept = kept if width is None or len(kept) <= width else f"{kept[: width - 1]}…"
    kept = kept.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    kept = re.sub(r"([\\`*_{}\[\]#|~@$]|:(?=\S)|^[+-](?= ))", r"\\\1", kept)
    return re.sub(r"\bwww\.", r"www\\.", kept, flags=re.IGNORECASE)


def to_markdown(table: Table, width: int | None = WIDTH) -> str:
    """The table in GitHub's Markdown; texts are cut to `width` characters."""

    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |\n"

    ruler = "|".join("---:" if column.right else "---" for column in table.columns)
    rows = (line(markdown_cell(cell, width) for cell in row) for row in table.rows)
    return line(escape(column.title, width) for column in table.columns) + f"|{ruler}|\n" + "".join(rows)


def markdown_cell(cell: Cell, width: int | None = WIDTH) -> str:
    """A figure over its difference: `61.2 [55.1, 67.0]<br>**+11.2 [+5.1, +17.0]**`, bold where it is clear of zero."""
    if not isinstance(cell, Number):
        return escape(_plain(cell), width)
    text = _joined(str(cell), cell.interval)
    if difference := cell.difference():
        text += f"<br>**{difference}**" if cell.is_clear else f"<br>{difference}"
    return text


# HTML


def visible(text: object) -> str:
    """Control characters as their pictures, which cannot hide or change what is next to them."""
    return str(text).translate(PICTURES)


def to_html(table: Table, *, kind: str = "", identity: str = "") -> str:
    """The table as HTML; of the style `numbers`, with another class and an id if need be."""
    head = "".join(f'<th scope="col" dir="auto">{_text(column.title) or "&nbsp;"}</th>' for column in table.columns)
    rows = []
    for number, (name, *cells) in enumerate(table.rows):
        attribute = ' class="flagged"' if number in table.flagged else ""
        own = "".join(map(_html_cell, cells))
        rows.append(f'<tr{attribute}><th scope="row" dir="auto">{_inner(name)}</th>{own}</tr>')
    body, foot = (rows[:-1], rows[-1:]) if table.has_total else (rows, [])
    parts = [f"<thead><tr>{head}</tr></thead>", "<tbody>", *body, "</tbody>"]
    parts += ["<tfoot>", *foot, "</tfoot>"] if foot else []
    attributes = f'class="{_joined("numbers", kind)}"' + (f' id="{identity}"' if identity else "")
    return "\n".join([f"<table {attributes}>", *parts, "</table>"])


def _html_cell(cell: Cell) -> str:
    return f'<td dir="auto">{_inner(cell)}</td>' if isinstance(cell, str) else f"<td>{_inner(cell)}</td>"


def _inner(cell: Cell) -> str:
    if cell is None:
        return f'<span class="none">{MISSING}</span>'
    if isinstance(cell, Link):
        return f'<a href="{html.escape(cell.address)}">{_text(cell.text)}</a>'
    if isinstance(cell, str):
        return _text(cell)
    text = str(cell) + (f" <small>{cell.interval}</small>" if cell.interval else "")
    if difference := cell.difference():
        tag = "b" if cell.is_clear else "span"
        text += f'<br><{tag} class="delta">{difference}</{tag}>'
    return text.replace("-", MINUS)


def _text(text: str) -> str:
    return html.escape(visible(text))
