"""A section checks itself: what its attributes allow, and the words in which the rest is refused."""

import math
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

import pytest

from congrad.errors import UserError
from congrad.settings.evaluation import Harness, LocalTask
from congrad.settings.reference import lines
from congrad.settings.section import (
    Count,
    PathText,
    described,
    fields_of,
    is_section,
    refused,
    section,
    section_in,
    type_of,
)
from congrad.settings.selfreward import Prompts
from congrad.settings.tree import SECTIONS


@section("part.engine")
class Inner:
    url: str | None = None
    retries: int = 6


@section("part")
class Settings:
    name: str
    temperature: float = 0.8
    samples: Count | None = 4
    chat: bool | Literal["auto"] = "auto"
    kind: Literal["all", "best"] = "best"
    tags: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    engine: Inner = field(default_factory=Inner)
    other: Inner | None = None
    many: tuple[Inner, ...] = ()
    place: PathText = "."

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise refused("temperature", "must be 0 or more", value=self.temperature)
        if self.name == "bad":
            raise refused("name", "is taken", "choose another")


def test_values_take_their_types():
    built = Settings(
        "x",
        temperature=1,
        samples=None,
        chat=False,
        tags=["a", "b"],
        extra={"anything": [1]},
        engine={"retries": 1},
        other={"url": "u"},
        many=[{"url": "v"}],
        place=Path("a") / "b",
    )
    assert built.engine == Inner(None, 1)
    assert built.other == Inner("u")
    assert built.many == (Inner("v"),)
    assert (built.tags, built.place) == (("a", "b"), str(Path("a") / "b"))
    assert isinstance(built.temperature, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temprature": 1}, "part.temprature is unknown; did you mean temperature?"),
        ({"engine": {"retry": 1}}, "part.engine.retry is unknown; did you mean retries?"),
        ({"engine": {"zzz": 1}}, "part.engine.zzz is unknown; choose from retries, url"),
        ({"name": 5}, 'part.name 5: must be text; put it into quotes: "5"; in a shell into two: \'"5"\''),
        ({"name": None}, "part.name null: must be text"),
        ({"temperature": "hot"}, "part.temperature 'hot': must be a number"),
        ({"temperature": "1"}, "part.temperature '1': must be a number"),
        ({"temperature": True}, "part.temperature true: must be a number"),
        ({"temperature": math.inf}, "part.temperature inf: must be a finite number"),
        ({"samples": 1.5}, "part.samples 1.5: must be a whole number, 1 or more"),
        ({"samples": 1.0}, "part.samples 1.0: must be a whole number, 1 or more"),
        ({"samples": True}, "part.samples true: must be a whole number, 1 or more"),
        ({"samples": 0}, "part.samples 0: must be 1 or more"),
        ({"kind": "most"}, "part.kind 'most': must be all or best"),
        ({"kind": "bst"}, "part.kind 'bst': must be all or best; did you mean best?"),
        ({"chat": "maybe"}, "part.chat 'maybe': must be true or false or auto"),
        ({"chat": 1}, "part.chat 1: must be true or false or auto"),
        ({"tags": "a"}, "part.tags 'a': must be a list; write [a]"),
        ({"tags": ["a", 2]}, 'part.tags.1 2: must be text; put it into quotes: "2"; in a shell into two: \'"2"\''),
        ({"engine": "openai"}, "part.engine 'openai': must be a mapping of keys"),
        ({"engine": None}, "part.engine null: must be a mapping of keys"),
        ({"many": [{}, {"retry": 1}]}, "part.many.1.retry is unknown; did you mean retries?"),
        ({"many": [{"retries": "1"}]}, "part.many.0.retries '1': must be a whole number"),
        ({"extra": []}, "part.extra []: must be a mapping of keys"),
        ({"temperature": -1}, "part.temperature -1.0: must be 0 or more"),
        ({"name": "bad"}, "part.name is taken; choose another"),
    ],
)
def test_a_wrong_key_or_value_is_named(values, message):
    with pytest.raises(UserError) as raised:
        Settings(**{"name": "x"} | values)
    assert str(raised.value) == message


def test_what_is_missing_is_named():
    with pytest.raises(UserError, match=r"part\.name is missing; give it a value"):
        Settings()


def leaves():
    """Every attribute of every section, with the section."""

    def within(kind):
        for name, each in fields_of(kind).items():
            inner, _ = section_in(each.annotation)
            if inner is not None:
                yield from within(inner)
            yield kind, name, each

    for kind in SECTIONS.values():
        if is_section(kind):
            yield from within(kind)


@pytest.mark.parametrize(
    ("kind", "name", "each"), [pytest.param(*leaf, id=f"{leaf[0].__name__}.{leaf[1]}") for leaf in leaves()]
)
def test_nothing_is_coerced_in_any_section(kind, name, each):
    """Text stands for no number, a number for no text and no switch: each wrong kind of value names the key."""
    required = {other: "x" for other, field in fields_of(kind).items() if field.is_required()}
    required |= {"prompts": {"source": "x"}} if "prompts" in required else {}
    required |= {"tasks": ("x",)} if kind is Harness else {}
    required |= {"source": "x"} if kind is Prompts else {"kind": "perplexity"} if kind is LocalTask else {}
    wanted = described(type_of(kind, [name]))
    with pytest.raises(UserError) as raised:
        kind(**required | {name: 5.5 if "text" in wanted or "of" in wanted or "list" in wanted else "5"})
    assert raised.value.key.split(".")[-1] == name
    assert "must be" in raised.value.problem


def test_every_key_says_what_it_means():
    for line in lines():
        assert line.meaning
        assert line.meaning[-1] == ".", line
    assert [line.key for line in lines("selection")] == ["selection.keep", "selection.min_score", "selection.scope"]
