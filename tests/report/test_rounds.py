"""The page on a loop, from files as the stages write them."""

import re

import pytest
from tests.report.evaluations import HOSTILE, evaluation, write
from tests.report.loops import make_loop

from congrad.errors import UserError
from congrad.report.figures import loop_figures
from congrad.report.loop_page import interval_rows, measures
from congrad.report.rounds import is_loop, read_loop
from congrad.report.write import write_report
from congrad.tables import to_markdown


@pytest.fixture
def loop(tmp_path):
    return make_loop(tmp_path / "loop", HOSTILE)


def test_rounds_stand_side_by_side(loop):
    assert is_loop(loop)
    assert not is_loop(loop / "congrad" / "round-1" / "filter")
    found = read_loop(loop)
    assert [each.name for each in found.rounds] == [
        *("round 1", "congrad, round 1", "random, round 1", "congrad, round 2")
    ]
    lines = to_markdown(measures(found, loop)).splitlines()[2:]
    table = {title: cells for title, *cells in (line.strip("| ").split(" | ") for line in lines)}
    assert table["answers"] == ["1,600", "–", "–", "1,600"]
    assert table["judgements that can be read"][0] == "97%"
    assert table["answers in another language"] == ["25%", "–", "–", "25%"]
    assert table["filter"] == ["–", "congrad", "random", "–"]
    assert table["kept"][1:3] == ["60 of 120", "150 of 300"]
    assert "predicted" not in table, "a run of before has no advice"
    assert table["conflicts beyond noise"] == ["–", "1", "–", "–"]
    assert table["loss, first and last"][2] == "0.693 → 0.410"
    assert found.evaluation is None


def test_the_page_of_a_loop_opens_and_grows(loop, look):
    path = write_report(loop)
    assert path == loop / "report.html"
    assert (loop / "congrad" / "round-1" / "filter" / "report.html").is_file()
    with look(path, width=400, dark=True) as opened:
        page = opened.page
        assert "not evaluated yet" in page.inner_text("h1")
        assert page.evaluate("executed") == []
        assert opened.complaints == []
        page.locator("#round-table a").click()
        page.wait_for_selector("#distributions svg", state="attached")

    models = ["M0", f"M1 {HOSTILE}", "M1-random"]
    write(loop / "evaluate" / "evaluation.json", evaluation(models, ["de", HOSTILE]))
    assert read_loop(loop).evaluation is None, "without its manifest it is not finished"
    write(loop / "evaluate" / "manifest.json", {})
    for width in (1280, 400):
        with look(write_report(loop), width=width) as opened:
            page = opened.page
            assert page.inner_text("h1") == "2 rounds of 2 filters: congrad, random, evaluated."
            assert page.locator("#intervals svg .mark-symbol path").count() == 6
            table = page.locator("table.evaluation").first
            assert table.locator("tbody tr").nth(0).locator("td").first.inner_text() == "50.0 [45.0, 55.0]"
            assert table.locator("tbody tr").nth(2).locator("b.delta").first.inner_text() == "+20.0 [+16.0, +24.0]"
            tax = page.locator("table.evaluation").last.locator("tbody td").first
            assert tax.inner_text() == "40.0 [35.0, 45.0]\n−1.0 [−5.0, +3.0]"
            assert tax.locator("b").count() == 0, "zero is within"
            assert page.locator("#evaluation summary").first.inner_text() == "Held-out pairs, arc_easy <b> (in percent)"
            assert page.evaluate("executed") == []
            assert opened.complaints == []
            assert len(opened.requests) == 1
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_loop_without_arms_and_with_nothing_done(tmp_path, run_directory):
    (tmp_path / "loop" / "round-1" / "generate").mkdir(parents=True)
    with pytest.raises(UserError, match="no stage of this loop is finished"):
        write_report(tmp_path / "loop")
    run_directory(tmp_path / "loop" / "round-1" / "filter", each=3)
    write_report(tmp_path / "loop")
    html = (tmp_path / "loop" / "report.html").read_text()
    assert "1 round, not evaluated yet." in html
    assert re.search(r'<a href="round-1/filter/report.html">', html)
    assert "Nothing has been judged" in html
    write_report(tmp_path / "loop", tmp_path / "elsewhere.html")
    assert 'href="loop/round-1/filter/report.html"' in (tmp_path / "elsewhere.html").read_text()
    assert list(loop_figures(tmp_path / "loop")) == []


def test_figures_of_an_evaluation():
    report = evaluation(["M0", "M1"], ["de", "en"])
    rows = interval_rows(report)
    assert [(row["model"], row["kind"]) for row in rows] == [
        *(("M0", "seen languages"), ("M0", "unseen languages"), ("M1", "seen languages"), ("M1", "unseen languages"))
    ]
    assert rows[2]["value"] == pytest.approx(60)
    report["headline"] = None
    assert interval_rows(report) == []
