"""The page in headless Chromium: hostile text does nothing, and what it says is what scores.parquet says."""

import re
from dataclasses import asdict

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from congrad.report.write import write_report
from congrad.selection import select
from congrad.settings.selection import Selection

SIZES = [(1280, False), (400, True)]
HOSTILE = [
    "<script>executed.push(1)</script>",
    "</script><script>executed.push(2)</script>",
    "</title></style></textarea></noscript><img src=x onerror=executed.push(3)>",
    '" onmouseover="executed.push(4)" autofocus onfocus=\'executed.push(5)',
    "{{ cycler.__init__ }}{% raw %}${executed.push(6)}{{7*7}}",
    "<svg onload=executed.push(7)><a href=javascript:executed.push(8)>x</a></svg>",
    "\x00\x01\x08\x0b\x1b[31m\x7f\u2028\u2029\u202e\ufeff<!--<script>",
    "<iframe srcdoc='<script>parent.executed.push(9)</script>'></iframe><base href=//evil.example>",
    "\ud800 & &lt;b&gt; <b>bold</b> https://evil.example/x.png",
    "__proto__",
]


def test_hostile_text_does_nothing(run_directory, look, tmp_path):
    languages = tuple(f"{number} {text}" if text != "__proto__" else text for number, text in enumerate(HOSTILE))
    languages = tuple(sorted(name.replace("\ud800", "") for name in languages))  # Parquet refuses a lone surrogate

    def text(row, language):
        bad = HOSTILE[row % len(HOSTILE)]
        message = [{"role": bad, "content": bad}]
        plain = {"prompt": bad, "chosen": bad + "1", "rejected": bad + "2"}
        talk = {"prompt": message, "chosen": message, "rejected": message}
        return (talk if row % 3 == 0 else plain) | {bad: bad, "x": {"__proto__": bad, bad: [bad]}}

    directory = run_directory(
        tmp_path / "run", languages=languages, each=30, text=text, conflict=(0, 1), warnings=HOSTILE, command=HOSTILE
    )
    manifest = (directory / "manifest.json").read_text()
    for field in ('"pairs.jsonl"', '"tiny"'):
        manifest = manifest.replace(field, '"</script><script>executed.push(10)</script>"')
    (directory / "manifest.json").write_text(manifest)
    path = write_report(directory)
    for width, dark in SIZES:
        with look(path, width=width, dark=dark) as opened:
            page = opened.page
            page.wait_for_selector("#heatmap svg", state="attached")
            page.evaluate("document.querySelectorAll('#table .open, summary').forEach((each) => each.click())")
            page.locator("#search").fill("<script>")
            page.locator("#language").select_option(index=2)
            page.locator("#amount").fill("20")
            cell = page.locator("#heatmap .mark-rect path").nth(3)
            cell.scroll_into_view_if_needed()
            cell.hover(force=True)
            page.wait_for_timeout(300)
            assert page.evaluate("executed") == []
            assert opened.complaints == []
            assert [url for url in opened.requests if not url.startswith("file:")] == []
            assert len(opened.requests) == 1
            assert page.evaluate("document.querySelectorAll('iframe, img, base, main b b, td script').length") == 0
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    with look(path) as opened:
        row = opened.page.locator("#table .open").first
        row.click()
        shown = opened.page.locator("#table .details").first.inner_text()
        assert any(text[:20] in shown for text in HOSTILE if text.isprintable()), "the text is there to be read"


def test_the_policy_stops_what_escaping_would_have_missed(run_directory, look, tmp_path):
    with look(write_report(run_directory(tmp_path / "run", each=3))) as opened:
        page = opened.page
        page.evaluate(
            """const script = document.createElement("script");
            script.textContent = "executed.push(1)";
            document.body.append(script);
            document.body.insertAdjacentHTML("beforeend", "<img src=x onerror=executed.push(2)>");
            fetch("https://example.org/").catch(() => null);"""
        )
        page.wait_for_timeout(200)
        assert page.evaluate("executed") == []
        assert len(opened.complaints) >= 3  # a line for each
        assert all("Content Security Policy" in complaint for complaint in opened.complaints)


def by_language(kept, languages):
    """How many pairs are kept of each."""
    return {name: int(sum(k for k, n in zip(kept, languages, strict=True) if n == name)) for name in set(languages)}


def told_kept(page):
    """By language, from the table: how many pairs are kept."""
    page.wait_for_timeout(100)  # one frame
    rows = page.locator("#by-language tbody tr").all_inner_texts()
    cells = [row.split("\t") for row in rows]
    return {name: int(kept.split(" ")[0].replace(",", "")) for name, _, kept, *_ in cells}


def expected(table, **rule):
    languages = sorted(set(table["language"]))
    score = torch.tensor([np.nan if score is None else score for score in table["score"]], dtype=torch.float32)
    code = torch.tensor([languages.index(name) for name in table["language"]])
    return select(score, code, **rule).numpy(), np.array(table["language"])


RULES = [
    ("language", "30", {"keep": 0.3}),
    ("language", "0.1", {"keep": 0.001}),
    ("language", "35", {"keep": 0.35}),
    ("language", "1.9", {"keep": 0.019}),
    ("language", "100", {"keep": 1.0}),
    ("global", "12.5", {"keep": 0.125, "scope": "global"}),
    ("global", "50", {"keep": 0.5, "scope": "global"}),
    ("score", "0.1", {"min_score": 0.1}),
    ("score", "-0.05", {"min_score": -0.05}),
    ("score", "0.30000001192092896", {"min_score": 0.30000001192092896}),
]


ALL_ROWS = """() => {
    const rows = [], press = (id) => document.getElementById(id).click();
    for (press("first"); ; press("next")) {
        for (const row of document.querySelectorAll("#table .pair")) rows.push(Number(row.cells[0].textContent));
        if (document.getElementById("next").disabled) return rows;
    }
}"""


def test_the_slider_keeps_what_the_filter_would(run_directory, look, tmp_path):
    directory = run_directory(tmp_path / "run")
    table = pq.read_table(directory / "scores.parquet").to_pydict()
    with look(write_report(directory)) as opened:
        page = opened.page
        kept, languages = expected(table, keep=0.5)
        assert kept.tolist() == table["keep"]
        assert told_kept(page) == by_language(kept, languages)
        for kind, value, rule in RULES:
            page.locator(f"[name=rule][value={kind}]").check(force=True)
            page.locator("#exact").fill(value)
            page.locator("#exact").press("Enter")
            kept, languages = expected(table, **rule)
            assert told_kept(page) == by_language(kept, languages), (
                kind,
                value,
            )
            assert page.locator("#kept-count").inner_text().startswith(f"Keeps {kept.sum()} of 650 pairs")
            page.locator("#verdict").select_option("kept")
            assert sorted(page.evaluate(ALL_ROWS)) == np.flatnonzero(kept).tolist()
            options = {"keep": "--keep ", "min_score": "--min-score ", "scope": "selection.scope="}
            words = " ".join(f"{options[name]}{rule[name]}" for name in rule).replace("--keep 1.0", "--keep 1")
            assert page.locator("#command").inner_text() == f"congrad filter {directory} {words}"
        page.locator("#reset").click()
        assert told_kept(page) == by_language(table["keep"], table["language"])
        assert opened.complaints == []


def test_the_slider_by_keyboard_moves_lengths_and_charts(run_directory, look, tmp_path):
    directory = run_directory(tmp_path / "run")
    table = pq.read_table(directory / "scores.parquet").to_pydict()
    with look(write_report(directory)) as opened:
        page = opened.page
        before = page.locator("#distributions svg").inner_html()
        page.locator("#amount").focus()
        for _ in range(3):
            page.keyboard.press("PageDown")
        value = float(page.locator("#exact").input_value())
        assert 10 < value < 50
        kept, languages = expected(table, keep=round(value / 100, 4))
        cells = [row.split("\t") for row in page.locator("#by-language tbody tr").all_inner_texts()]
        chosen, rejected = np.array(table["chosen_tokens"]), np.array(table["rejected_tokens"])
        groups, scores = np.array(table["group"]), np.array(table["score"], dtype=float)
        for name, pairs, _, all_score, score, *numbers in cells:
            own = languages == name
            assert int(pairs) == own.sum()
            assert float(score.replace("−", "-")) == pytest.approx(np.nanmean(scores[own & kept]), abs=6e-4)
            assert float(all_score.replace("−", "-")) == pytest.approx(np.nanmean(scores[own]), abs=6e-4)
            means = [tokens[mask].mean() for tokens in (chosen, rejected) for mask in (own, own & kept)]
            assert [float(number) for number in numbers[:4]] == pytest.approx(means, abs=0.051)
            assert [int(number) for number in numbers[4:]] == [len(set(groups[own])), len(set(groups[own & kept]))]
        lost = len(set(groups)) - len(set(groups[kept]))
        assert f"{lost} of {len(set(groups))} prompts" in page.locator("#shift").inner_text()
        page.wait_for_timeout(300)
        assert page.locator("#distributions svg").inner_html() != before
        assert page.locator("#distributions .mark-rect > *").count() > 100


def test_search_filter_and_sort(run_directory, look, tmp_path):
    directory = run_directory(tmp_path / "run")
    table = pq.read_table(directory / "scores.parquet").to_pydict()

    def rows(page):
        return [int(text) for text in page.locator("#table .pair td:first-child").all_inner_texts()]

    with look(write_report(directory)) as opened:
        page = opened.page
        by_score = sorted((score, row) for row, score in enumerate(table["score"]) if score is not None)
        assert rows(page) == [row for _, row in by_score[:20]]
        page.locator("[data-sort=score]").click()
        by_score = sorted((-score, row) for row, score in enumerate(table["score"]) if score is not None)
        assert rows(page) == [row for _, row in by_score[:20]]
        page.locator("#last").click()
        assert rows(page)[-7:] == list(range(3, 650, 97))  # no score: last, whichever way
        page.locator("[data-sort=row]").click()
        assert rows(page) == list(range(20))
        page.locator("[data-sort=row]").click()
        assert rows(page) == list(range(649, 629, -1))
        assert page.locator("th[aria-sort=descending]").inner_text().startswith("Row")

        page.locator("#search").fill("YES 64")
        assert rows(page) == [649, 648, 647, 646, 645, 644, 643, 642, 641, 640, 64]
        assert page.locator("#shown").inner_text() == "1–11 of 11 pairs"
        page.locator("#search").fill("ar-13")
        assert rows(page) == [130, 13]
        page.locator("#search").fill("nothing like it")
        assert page.locator("#shown").inner_text() == "0 pairs"
        page.locator("#search").fill("")
        page.locator("#language").select_option(label="he")
        page.locator("#verdict").select_option("dropped")
        own = [row for row in range(649, -1, -1) if table["language"][row] == "he" and not table["keep"][row]]
        assert rows(page) == own[:20]

        page.locator("#table .open").first.click()
        details = page.locator("#table .details")
        words = details.inner_text()
        row = own[0]
        assert f"yes {row}" in words
        assert table["reason"][row] in words
        for name in ("ar", "zh"):
            cosine = table[f"cosine_{name}"][row]
            told = details.locator("li", has=page.locator(f"bdi:text-is('{name}')")).inner_text()
            assert float(told.split()[-1].replace("−", "-")) == pytest.approx(cosine, abs=5.1e-4)
        assert page.evaluate("getComputedStyle(document.querySelector('.details .text')).direction") == "rtl"
        assert opened.complaints == []


def test_a_run_of_each_rule_opens_as_it_was_kept(run_directory, look, tmp_path):
    for name, selection in (
        ("global", Selection(keep=0.3333, scope="global")),
        ("score", Selection(min_score=0.0625)),
    ):
        directory = run_directory(tmp_path / name, each=20, selection=selection)
        table = pq.read_table(directory / "scores.parquet").to_pydict()
        with look(write_report(directory)) as opened:
            assert told_kept(opened.page) == by_language(table["keep"], table["language"])
            assert opened.page.locator("#reset").is_hidden()
            rule = {name: value for name, value in asdict(selection).items() if value is not None}
            assert str(rule.get("keep", rule.get("min_score"))) in opened.page.locator("#command").inner_text()


def test_of_many_pairs_a_sample_is_shown(run_directory, look, tmp_path):
    directory = run_directory(tmp_path / "run", each=300)
    table = pq.read_table(directory / "scores.parquet").to_pydict()
    with look(write_report(directory)) as opened:
        page = opened.page
        assert re.search(r"1,482 of 3,900 pairs: of each language the 38 most aligned", page.inner_text("#pairs"))
        page.locator("#kind").select_option("0")
        page.locator("#language").select_option(label="ja")
        assert page.locator("#shown").inner_text() == "1–20 of 38 pairs"
        page.locator("[data-sort=score]").click()
        first = int(page.locator("#table .pair td:first-child").first.inner_text().replace(",", ""))
        own = [
            score or -9 if name == "ja" else -9 for score, name in zip(table["score"], table["language"], strict=True)
        ]
        assert first == int(np.argmax(own))
        assert "of 3,900 pairs" in page.locator("#kept-count").inner_text()


NAMELESS = """[...document.querySelectorAll('button, input, select, [role=img], [role=region]')].filter((element) =>
    !element.textContent.trim() && !element.labels?.length && !element.ariaLabel &&
    !element.getAttribute('aria-labelledby')).map((element) => element.outerHTML.slice(0, 80))"""
FOCUSED = "(({ id, className, name, tagName }) => id || className || name || tagName)(document.activeElement)"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (400, False), (400, True)])
def test_nothing_overflows_and_every_control_has_a_name(run_directory, look, tmp_path, width, dark):
    directory = run_directory(tmp_path / "run", each=25, conflict=(1, 4))
    with look(write_report(directory), width=width, dark=dark) as opened:
        page = opened.page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for name in ("heatmap", "distributions", "lengths"):
            box = page.locator(f"#{name} svg").bounding_box()
            place = page.locator(f"#{name}").bounding_box()
            assert box["width"] <= place["width"] + 1, name
            labels = page.locator(f"#{name} svg text").all_text_contents()
            assert {"ar", "zh"} <= set(labels), name
        nameless = page.evaluate(NAMELESS)
        assert nameless == []
        dark_paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.locator("#theme").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark_paper
        page.wait_for_timeout(200)
        assert opened.complaints == []


def test_the_keyboard_reaches_everything(run_directory, look, tmp_path):
    with look(write_report(run_directory(tmp_path / "run", each=4))) as opened:
        page = opened.page
        reached = []
        for _ in range(90):
            page.keyboard.press("Tab")
            reached.append(page.evaluate(FOCUSED))
        for wanted in ("theme", "heatmap", "amount", "exact", "copy", "search", "language", "verdict", "open", "next"):
            assert wanted in reached, wanted
        page.locator("[name=heatmap]").first.focus()
        page.keyboard.press("ArrowRight")
        assert "infinitely many pairs" in page.locator("#heatmap-hint").inner_text()
