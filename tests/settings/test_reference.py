"""The tree in words: the page of the documentation, and what `congrad settings` prints."""

from pathlib import Path

from congrad.settings.reference import lines, reference

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_settings_say():
    page = (ROOT / "docs" / "settings-reference.md").read_text(encoding="utf-8")
    assert page == reference(), "python -m congrad.settings.reference > docs/settings-reference.md"


def test_the_command_prints_the_tree(congrad):
    done = congrad("settings")
    assert done.code == 0
    for line in lines():
        assert f"\n{line.key} " in f"\n{done.out.replace(chr(10), ' ' + chr(10))}"
    done = congrad("settings", "selection.k")
    assert done.out.startswith("selection.keep = null\n    Share of the pairs")


def test_an_unknown_beginning_is_named(congrad):
    done = congrad("settings", "selektion")
    assert (done.code, done.out) == (2, "")
    assert done.err == "congrad: selektion is unknown; did you mean selection?\n"
