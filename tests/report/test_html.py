"""The page as a file: its size, its policy, what is embedded, and what a summary says."""

import json
import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest

from congrad.errors import UserError
from congrad.filtering.comparison import language_pairs
from congrad.filtering.finished import read_run
from congrad.report.filter_page import short
from congrad.report.html import embed, typed
from congrad.report.summary import exact_percent, listed, percent, rule_in_words, summarise, unscored
from congrad.report.write import write_report
from congrad.settings.selection import Selection
from congrad.tables import visible


def data_of(path):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.S)[1])


class Tags(HTMLParser):
    """What would load something, or run without being in the policy."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.found.append(f"{tag} {name}")
            if name in ("src", "href") and not (value or "").startswith(("#", "data:")):
                self.found.append(f"{tag} {name}={value}")


def test_a_page_is_one_file_that_asks_for_nothing(run_directory, tmp_path):
    path = write_report(run_directory(tmp_path / "run", each=10))
    assert path == tmp_path / "run" / "report.html"
    tags = Tags()
    tags.feed(path.read_text())
    assert tags.found == []
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', path.read_text())[1].replace("&#39;", "'")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert all(re.fullmatch(r"'sha256-[\w+/=]{44}'", source) for source in rules["script-src"].split())
    assert "unsafe" not in policy


def test_100_000_pairs_fit_and_do_not_take_long(run_directory, tmp_path):
    """With long texts: the sample becomes smaller, the scores of all are there."""

    def text(row, language):
        return {"prompt": f"{row} " + "p" * 700, "chosen": "c" * 1500, "rejected": "ر" * 700}

    directory = run_directory(tmp_path / "run", each=7693, text=text)
    write_report(run_directory(tmp_path / "warm", each=2))
    started = time.process_time()
    path = write_report(directory)
    seconds = time.process_time() - started
    assert 4_000_000 < path.stat().st_size < 6_000_000
    assert seconds < 3, "0.8 seconds where it was measured"
    data = data_of(path)
    assert len(data["pairs"]["score"]["base64"]) * 3 // 4 >= 100_009 * 4
    numbers = re.search(r"([\d,]+) of 100,009 pairs: of each language the (\d+) most aligned", path.read_text())
    assert len(data["shown"]["texts"]) == int(numbers[1].replace(",", "")) == 3 * 13 * int(numbers[2]) > 150


def test_embedded_json_cannot_leave_its_script():
    hostile = {"</script><script>": ["<!--", "]]>", "&lt;", "\u2028\u2029\x00\x1b", "\ud800", {"x": float("nan")}]}
    text = str(embed(hostile))
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"</script><script>": [*hostile["</script><script>"][:-1], {"x": None}]}


def test_numbers_take_as_few_bits_as_they_need():
    for largest, kind in ((0, "uint8"), (255, "uint8"), (256, "uint16"), (65535, "uint16"), (65536, "uint32")):
        assert typed(np.array([largest]))["type"] == kind
    assert typed(np.array([], dtype=np.int64))["type"] == "uint8"
    assert typed(np.array([np.nan, 0.5]))["type"] == "float32"


def test_control_characters_are_seen():
    assert visible("a\x00b\x1b\x7f\n\t") == "a\u2400b\u241b\u2421\n\t"


def test_a_path_of_this_machine_is_told_among_the_settings_alone():
    assert short("/home/someone/data/pairs") == "data/pairs"
    assert (short("org/model"), short("pairs.jsonl")) == ("org/model", "pairs.jsonl")


def test_a_page_elsewhere_and_a_place_that_cannot_be_written(run_directory, tmp_path):
    directory = run_directory(tmp_path / "run", each=3)
    assert write_report(directory, tmp_path / "x.html") == tmp_path / "x.html"
    assert not (directory / "report.html").exists()
    with pytest.raises(UserError, match="cannot write"):
        write_report(directory, tmp_path / "missing" / "x.html")


# The summary ----------------------------------------------------------------------------------------------------------


def summary_of(directory):
    run = read_run(directory)
    return summarise(run, language_pairs(run.compared))


def test_a_summary_of_a_conflict(run_directory, tmp_path):
    found = summary_of(run_directory(tmp_path / "run", conflict=(2, 5)))
    kept = (tmp_path / "run" / "kept.jsonl").read_text().count("\n")
    assert found.headline == f"{kept} of 650 pairs stay: the best-aligned 50% of every language."
    facts = {name: (number, text) for name, number, text in found.facts}
    assert facts["Conflicts beyond noise"] == ("1 language pair", "strongest: el and fr, cosine −0.40 [−0.60, −0.20]")
    assert facts["Fidelity"] == (
        "0.97",
        "estimated rank correlation with uncompressed gradients: compression changes little",
    )
    assert facts["Stability"] == (
        "0.50",
        "rank correlation of two halves of the prompts, which keep 66% of the same pairs (50% by chance)",
    )
    assert [(pair.first, pair.second) for pair in found.conflicts] == [("el", "fr")]
    told = " ".join(step.text for step in found.steps)
    assert "Read some dropped pairs of el and fr below" in told
    assert [step.command for step in found.steps if step.command] == [
        f"congrad filter {tmp_path / 'run'} --min-score 0"
    ]


def test_a_summary_without_conflict_few_pairs_and_low_fidelity(run_directory, tmp_path):
    calm = summary_of(run_directory(tmp_path / "calm"))
    assert {name: number for name, number, _ in calm.facts}["Conflicts beyond noise"] == "none"
    assert f"congrad filter {tmp_path / 'calm'} --keep 0.8" in [step.command for step in calm.steps]

    low = {"pairs": 52, "half_size_spearman": 0.4, "estimated_spearman": 0.75}
    few = summary_of(run_directory(tmp_path / "few", each=4, fidelity=low, conflict=(0, 1)))
    assert {name: number for name, number, _ in few.facts}["Conflicts beyond noise"] == "can’t tell"
    told = " ".join(step.text for step in few.steps)
    assert "Add pairs in ar, de, el, en, es, fr and 7 more" in told
    assert "index.projection_size=512" in told

    none = {"pairs": 0, "half_size_spearman": None, "estimated_spearman": None}
    alone = summary_of(run_directory(tmp_path / "alone", languages=("de",), each=40, fidelity=none))
    facts = {name: (number, text) for name, number, text in alone.facts}
    assert facts["Conflicts beyond noise"] == ("–", "there is only one language")
    assert facts["Fidelity"][0] == "unknown"
    write_report(tmp_path / "alone")


def test_a_summary_of_a_minimum_score(run_directory, tmp_path):
    found = summary_of(run_directory(tmp_path / "run", selection=Selection(min_score=0.1)))
    assert found.headline.endswith("stay: every pair with a score of 0.1 or more.")
    assert "congrad filter" not in " ".join(step.command or "" for step in found.steps if "--min-score" in step.text)
    assert unscored(read_run(tmp_path / "run")) == [("the pair is empty", 7)]


def test_shares_in_words():
    assert [percent(share) for share in (0, 0.0001, 0.004, 0.3, 0.996, 0.9999, 1)] == [
        *("0%", "below 0.1%", "0.4%", "30%", "99.6%", "over 99.9%", "100%")
    ]
    assert [exact_percent(share) for share in (0.5, 0.3333, 1e-05, 1.0, 0.07)] == ["50", "33.33", "0.001", "100", "7"]
    assert [listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert listed(list("abcdefgh")) == "a, b, c, d, e, f and 2 more"
    assert rule_in_words({"keep": 0.25, "min_score": None, "scope": "global"}) == (
        "the best-aligned 25% of all pairs together"
    )
