"""What is on the screen: figures that fit, and a dataset's text that cannot dress itself up."""

import json

import pytest

from congrad.words import human_bytes, human_time


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (34_560_000, "34.6 MB"), (2e12, "2.0 TB"), (5e16, "50000.0 TB")],
)
def test_bytes(count, text):
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (7320, "2 h 02 min")],
)
def test_time(seconds, text):
    assert human_time(seconds) == text


def test_a_language_s_name_is_text(congrad, save_rows, make_rows, tiny_directory, tmp_path):
    rows = [row | {"language": f"[red]{row['language']}"} for row in make_rows(12)]
    source = save_rows(tmp_path / "pairs.jsonl", rows)
    done = congrad("filter", source, "-m", tiny_directory, "-o", tmp_path / "run")
    assert done.code == 0
    assert "[red]de" in done.out
    assert "warning: fewer than 20 pairs, too few for a meaningful language gradient: [red]de (4)" in done.err
    assert congrad("filter", tmp_path / "run", "--keep", 0.3).code == 0


@pytest.fixture
def turned(save_rows, tmp_path):
    """Pairs of four languages: de and en answer alike, xx and yy the other way round, to every prompt."""
    rows = [{"prompt": f"{number} and {number}?", "chosen": "yes, yes", "rejected": "no!"} for number in range(30)]
    back = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
    languages = (("de", rows), ("en", rows), ("xx", back), ("yy", back))
    return save_rows(tmp_path / "pairs.jsonl", [row | {"language": name} for name, own in languages for row in own])


def test_the_lowest_cosine_stands_beside_its_interval(congrad, turned, tiny_directory, tmp_path):
    """Languages with the responses changed over pull in opposite directions."""
    done = congrad("filter", turned, "-m", tiny_directory, "-o", tmp_path / "run", "-q")
    assert done.code == 0, done.err
    lines = done.out.splitlines()[1:5]
    assert [line.split()[5] in ("xx", "yy") for line in lines] == [True, True, False, False]
    assert all(line.split()[6][0] == "-" and line.split()[7].startswith("[-") for line in lines)
    assert all(line.endswith("conflict") for line in lines)


def test_every_conflict_is_on_the_screen(congrad, turned, tiny_directory, tmp_path):
    """Those too that are not a language's lowest cosine."""
    done = congrad("filter", turned, "-m", tiny_directory, "-o", tmp_path / "run")
    (line,) = [line for line in done.out.splitlines() if line.startswith("conflicts")]
    pairs = [" ".join(part.split()[:3]) for part in line.split(": ")[1].replace("], ", "]|").split("|")]
    assert sorted(pairs) == ["de – xx", "de – yy", "en – xx", "en – yy"]
    assert "prompts: 30 prompts are in several of the 4 languages (line by line)" in done.err


def test_the_verdicts_are_the_same_everywhere(congrad, turned, tiny_directory, tmp_path):
    run = tmp_path / "run"
    done = congrad("filter", turned, "-m", tiny_directory, "-o", run, "--format", "trl")
    assert done.code == 0, done.err
    verdict = json.loads((run / "languages.json").read_text())["verdict"]
    page = (run / "report.html").read_text()
    assert verdict[0] == [None, "agree", "conflict", "conflict"]
    assert "language pairs: 4 conflict, 2 agree, 0 cannot tell" in done.out
    assert "fewer than" not in done.err
    assert (run / "trl" / "README.md").read_text().count("| conflict |") == 4
    assert "4 language pairs" in page
    assert page.count("<td>conflict</td>") == 4
    assert page.count("<td>agree</td>") == 2
