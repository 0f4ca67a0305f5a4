"""Tables: what each printer shows, and nothing in a name that it would obey."""

import html
import io
import re

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from congrad.tables import Link, Number, Table, columns, escape, to_html, to_markdown, to_terminal

CLEAR = Number(0.612, ".1f", 100, 0.551, 0.67, -0.112, -0.17, -0.05)
TABLE = Table(
    columns("model", "figure", "count"),
    [["M0", Number(-0.0001, "+.2f"), Number(1234, ",d")], ["M1", CLEAR, None]],
    flagged={1},
    has_total=True,
)


def on_terminal(table: Table, **options: bool) -> list[str]:
    console = Console(file=io.StringIO(), width=120)
    console.print(to_terminal(table, **options))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_terminal_s_table():
    lines = [line.split() for line in on_terminal(TABLE)]
    assert lines == [
        ["model", "figure", "count"],
        ["M0", "0.00", "1,234"],
        ["M1", "61.2", "[55.1,", "67.0]", "–"],
        ["-11.2", "[-17.0,", "-5.0]"],
    ]
    assert on_terminal(TABLE, brief=True)[2].split() == ["M1", "61.2", "-11.2", "–"]


def test_a_table_in_markdown():
    assert to_markdown(TABLE) == (
        "| model | figure | count |\n|---|---:|---:|\n| M0 | 0.00 | 1,234 |\n"
        "| M1 | 61.2 [55.1, 67.0]<br>**-11.2 [-17.0, -5.0]** | – |\n"
    )


def test_a_table_in_html():
    page = to_html(TABLE, kind="evaluation", identity="x")
    assert page.startswith('<table class="numbers evaluation" id="x">')
    assert '<tr class="flagged"><th scope="row" dir="auto">M1</th>' in page
    assert '<td>61.2 <small>[55.1, 67.0]</small><br><b class="delta">−11.2 [−17.0, −5.0]</b></td>' in page
    assert page.index("<tbody>") < page.index("M0") < page.index("</tbody>") < page.index("<tfoot>") < page.index("M1")
    link = to_html(Table(columns("", "x"), [["a", Link("<open>", 'a"b')]]))
    assert '<th scope="col" dir="auto">&nbsp;</th>' in link
    assert '<a href="a&quot;b">&lt;open&gt;</a>' in link


NASTY = [
    "<script>alert(1)</script>",
    "a|b",
    "**bold** _x_ `code`",
    "[link](javascript:alert(1))",
    "![image](http://x.test/a.png)",
    "http://x.test and www.x.test and me@x.test",
    "one\ntwo\r\n| three |",
    "&lt;b&gt;",
    "back\\slash",
    "\u202eevil\u2066",
    "# head",
    "[red]red[/red] [link=x]",
    "\x1b[31m\x07bell",
    "x" * 200,
    "क्षि น้ำ ‌‍",
]


@pytest.mark.parametrize("name", NASTY)
def test_names_are_shown_and_not_obeyed(name):
    renderer = MarkdownIt("gfm-like", {"html": False, "linkify": False}).enable("table")
    page = renderer.render(to_markdown(Table(columns("model", name), [["1", "2"]])))
    headings = re.findall(r"<th[^>]*>(.*?)</th>", page, re.DOTALL)
    assert len(headings) == 2
    assert "<" not in headings[1], "no element came of it"
    shown = html.unescape(headings[1])
    expected = as_shown(name)
    assert shown == (expected if len(expected) <= 80 else expected[:79] + "…")


@pytest.mark.parametrize("name", NASTY)
def test_names_are_shown_on_a_terminal(name):
    console = Console(file=io.StringIO(), width=600, force_terminal=True, color_system=None)
    console.print(to_terminal(Table(columns("model", "x"), [[name, name]])))
    text = console.file.getvalue()
    assert text.count(as_shown(name)) == 2
    assert not {"\x07", "\u202e", "\u2066"} & set(text)
    assert "\x1b[31m" not in text


@pytest.mark.parametrize("name", NASTY)
def test_names_are_shown_on_a_page(name):
    page = to_html(Table(columns(name, "x"), [[name, name]]))
    assert set(re.findall(r"</?(\w+)", page)) == {"table", "thead", "tbody", "tr", "th", "td"}
    assert "\x1b" not in page


def test_links_are_not_made_of_names():
    assert "http\\:" in escape("http://x.test")
    assert "www\\." in escape("WWW.x.test").lower()
    assert "\\@" in escape("me@x.test")


def as_shown(name: str) -> str:
    kept = (" " if c in "\x1b\x07" else c for c in name if c not in "\u202e\u2066")
    return " ".join("".join(kept).split())
