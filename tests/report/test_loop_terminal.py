"""What the loop prints at the end: everything of it fits a screen of 80 columns, and nothing of it is cut off."""

import pytest
from tests.report.evaluations import HOSTILE, evaluation, write

from congrad.evaluation.run import row_name
from congrad.report.loop import show_stage
from congrad.selfreward.hygiene import measure_hygiene
from congrad.settings.tree import METHODS

LANGUAGES = ["de", "en", "es", "fr", "ru", "ar", "el", "hi", "ja", "ko", "th", "tr", "zh"]
WIDTH = 80


@pytest.fixture
def shown(tmp_path, monkeypatch, capsys):
    """A finished stage's table as lines of text."""

    def show(stage, **files):
        for name, content in (files | {"manifest": {"warnings": []}}).items():
            write(tmp_path / f"{name}.json", content)
        monkeypatch.setenv("COLUMNS", str(WIDTH))
        show_stage(stage, tmp_path, "title")
        return capsys.readouterr().out.splitlines()

    return show


def test_the_evaluation_of_every_filter_fits_a_screen(shown):
    lines = shown("evaluate", evaluation=evaluation(["M0", *(row_name(method, 1) for method in METHODS)], LANGUAGES))
    tables = lines[: lines.index("", lines.index("") + 1)]
    assert max(map(len, tables)) <= WIDTH
    assert "…" not in "".join(lines)
    assert lines[0] == "title"
    assert lines[1].split() == ["model", "seen", "mean", "unseen", "mean", "tasks"]
    assert [lines[2].split()[0], *lines[2].split()[1:4]] == ["M0", "50.0", "[45.0,", "55.0]"]
    by_language = {line.split()[0]: line.split()[1:] for line in tables[-len(LANGUAGES) :]}
    assert list(by_language) == LANGUAGES
    assert " ".join(by_language["zh"]) == "50.0 60.0 +10.0 70.0 +20.0 80.0 +30.0 90.0 +40.0 100.0 +50.0"


def test_names_from_a_data_set_are_shown_as_they_are(shown):
    text = "\n".join(shown("evaluate", evaluation=evaluation(["M0", "[red]ConGrad[/red]"], ["de", HOSTILE])))
    assert "[red]ConGrad[/red]" in text
    assert "<script>" in text


def test_hygiene_fits_a_screen(shown):
    responses = [{"language": name, "prompt_key": name, "response": "x" * n} for n in range(9) for name in LANGUAGES]
    hygiene = measure_hygiene(responses, [[n % 4, None if n == 3 else n % 5] for n in range(len(responses))])
    lines = shown("judge", hygiene=hygiene)
    assert max(map(len, lines)) <= WIDTH
    assert "…" not in "".join(lines)
    assert [line.split()[0] for line in lines[-14:]] == [*sorted(LANGUAGES), "all"]
