"""What is on the screen: figures that fit, and a dataset's text that cannot dress itself up."""

from types import SimpleNamespace

import pytest
import torch

from congrad.report import screen
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


def test_conflicts_by_chance_are_told_where_there_are_many_couples(capsys, monkeypatch):
    def shown(num_languages: int) -> str:
        monkeypatch.setattr(screen, "strongest_conflict", lambda *_: "xx -0.30 [-0.50, -0.10] conflict")
        names = [f"l{number}" for number in range(num_languages)]
        rows = torch.arange(num_languages)
        scored = SimpleNamespace(
            languages=names, score_N=torch.ones(num_languages), language_N=rows, reason_N=[""] * num_languages
        )
        keep_N, manifest = rows >= 0, {"fidelity": {"estimated_spearman": None}}
        result = SimpleNamespace(scored=scored, keep_N=keep_N, manifest=manifest, warnings=[])
        screen.show_result(result, quiet=True)
        return capsys.readouterr().out

    expected = (
        "conflict: the interval lies below zero; of 28 couples of languages about 1 would have such a one by chance"
    )
    assert expected in shown(8).splitlines()
    assert "by chance" not in shown(3)
