"""Names of languages: what a tag may mean, and that none of the languages that can be identified lacks its name."""

import pytest

from congrad.languages.identify import known
from congrad.languages.tags import TAG_OF_NAME, languages_of, parse


@pytest.mark.parametrize(
    ("name", "languages"),
    [
        ("deu", {"de"}),
        ("Chinese (Simplified)", {"zh"}),
        ("cmn", {"cmn", "zh"}),
        ("am", {"am"}),
        ("sr-Latn", {"bs", "hr", "sr"}),
        ("Norwegian", {"nb", "nn"}),
        ("Klingon", set()),
        ("", set()),
    ],
)
def test_what_a_name_may_mean(name, languages):
    assert languages_of(name) == languages


def test_script_and_region_are_kept_in_the_tag():
    tag = parse("zho_Hant_TW")
    assert (tag.language, tag.script, tag.territory) == ("zh", "Hant", "TW")
    assert parse("a b c") is None


def test_every_language_that_lingua_knows_has_its_english_name():
    assert {each.name.lower(): tag for tag, each in known().items()}.items() <= TAG_OF_NAME.items()
