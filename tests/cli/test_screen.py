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


def test_the_lowest_cosine_stands_beside_its_interval(congrad, save_rows, make_rows, tiny_directory, tmp_path):
    """Two languages of the same prompts with the responses changed over pull in opposite directions."""
    rows = make_rows(30, ("de",))
    turned = [row | {"chosen": row["rejected"], "rejected": row["chosen"], "language": "xx"} for row in rows]
    source = save_rows(tmp_path / "pairs.jsonl", rows + turned)
    done = congrad("filter", source, "-m", tiny_directory, "-o", tmp_path / "run", "-q")
    assert done.code == 0, done.err
    lines = done.out.splitlines()[1:3]
    assert lines[0].split()[5:8] == ["xx", "-1.00", "[-1.00,"]
    assert all(line.endswith("conflict") for line in lines)


@pytest.fixture
def turned(save_rows, make_rows, tmp_path):
    """Pairs of four languages: de and en answer alike, xx and yy the other way round."""
    rows = make_rows(30, ("de",))
    back = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
    languages = (("de", rows), ("en", rows), ("xx", back), ("yy", back))
    return save_rows(tmp_path / "pairs.jsonl", [row | {"language": name} for name, own in languages for row in own])


def test_every_conflict_is_on_the_screen(congrad, turned, tiny_directory, tmp_path):
    """Those too that are not a language's lowest cosine."""
    done = congrad("filter", turned, "-m", tiny_directory, "-o", tmp_path / "run", "-q")
    (line,) = [line for line in done.out.splitlines() if line.startswith("conflicts")]
    assert sorted(part.split(" [")[0] for part in line.split(": ")[1].replace("], ", "]|").split("|")) == [
        *("de – xx -1.00", "de – yy -1.00", "en – xx -1.00", "en – yy -1.00")
    ]
    assert "by chance" not in done.out, "of 6 language pairs none"


def test_the_least_number_of_pairs_stands_in_one_place(congrad, turned, tiny_directory, monkeypatch, tmp_path):
    def filtered(name: str) -> tuple[str, str, str, list, str]:
        run = tmp_path / name
        done = congrad("filter", turned, "-m", tiny_directory, "-o", run, "--format", "trl")
        assert done.code == 0, done.err
        content = json.loads((run / "languages.json").read_text())
        page = (run / "report.html").read_text()
        card = (run / "trl" / "README.md").read_text()
        return (
            done.out,
            done.err,
            card,
            content["conflict"],
            page[page.index('id="summary"') : page.index('id="trust"')],
        )

    out, err, card, conflict, page = filtered("few")
    assert conflict[0] == [None, False, True, True]
    assert "conflicts (the whole interval" in out
    assert "can't tell" not in out
    assert "fewer than" not in err
    assert card.count("| yes |") == 4
    assert "4 language pairs" in page
    assert "with 20 or more pairs in both" in page
    assert page.count("<td>conflict</td>") == 4

    monkeypatch.setattr("congrad.consensus.conflict.MIN_PAIRS", 31)
    out, err, card, conflict, page = filtered("many")
    assert conflict == [[None] * 4] * 4
    assert "conflicts (the whole interval" not in out
    assert "can't tell whether these conflict: de (30), en (30), xx (30) and yy (30); a language needs 31 pairs" in out
    assert "fewer than 31 pairs" in err
    assert card.count("| can't tell |") == 4
    assert "can’t tell" in page
    assert "with 31 or more pairs in both" in page
    assert page.count("<td>can’t tell</td>") == 6
    assert json.loads((tmp_path / "many" / "languages.json").read_text())["conflict_min_pairs"] == 31
