"""Mappings become settings, or the key is named that cannot."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from congrad.errors import UserError
from congrad.loop.build import Source, build


@dataclass(frozen=True)
class Inner:
    url: str | None = None
    retries: int = 6


@dataclass(frozen=True)
class Settings:
    name: str
    temperature: float = 0.8
    samples: int | None = 4
    chat: bool | Literal["auto"] = "auto"
    kind: Literal["all", "best"] = "best"
    tags: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    engine: Inner = field(default_factory=Inner)
    other: Inner | None = None

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise UserError(f"part.temperature {self.temperature}: must be 0 or more")
        if self.name == "bad":
            raise UserError("that name is taken")


SOURCE = Source("run.yaml", {("part",): 2, ("part", "temperature"): 3, ("part", "engine"): 4}, {("part", "kind"): "x"})


def test_values_take_their_annotated_types():
    values = {
        "name": "x",
        "temperature": 1,
        "samples": None,
        "chat": False,
        "kind": "all",
        "tags": ["a", "b"],
        "extra": {"anything": [1]},
        "engine": {"retries": 1},
        "other": {"url": "u"},
    }
    built = build(Settings, values, ("part",), SOURCE)
    assert built == Settings("x", 1.0, None, False, "all", ("a", "b"), {"anything": [1]}, Inner(None, 1), Inner("u"))
    assert isinstance(built.temperature, float)
    assert build(Settings, {"name": "x", "engine": {}}, ("part",), SOURCE) == Settings("x")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x", "temprature": 1}, "run.yaml:2: part.temprature is unknown; did you mean temperature?"),
        ({"name": "x", "engine": {"retry": 1}}, "run.yaml:4: part.engine.retry is unknown; did you mean retries?"),
        ({"name": "x", "engine": {"zzz": 1}}, "run.yaml:4: part.engine.zzz is unknown; choose from retries, url"),
        ({}, "run.yaml:2: part.name is missing; give it a value"),
        ({"name": 5}, "run.yaml:2: part.name is 5; it must be text"),
        ({"name": None}, "run.yaml:2: part.name is null; it must be text"),
        ({"name": "x", "temperature": "hot"}, "run.yaml:3: part.temperature is 'hot'; it must be a number"),
        ({"name": "x", "temperature": True}, "run.yaml:3: part.temperature is true; it must be a number"),
        ({"name": "x", "samples": 1.5}, "run.yaml:2: part.samples is 1.5; it must be a whole number or null"),
        ({"name": "x", "samples": True}, "run.yaml:2: part.samples is true; it must be a whole number or null"),
        ({"name": "x", "kind": "most"}, "command line: part.kind is 'most'; it must be all or best"),
        ({"name": "x", "chat": "maybe"}, "run.yaml:2: part.chat is 'maybe'; it must be true or false or auto"),
        ({"name": "x", "tags": "a"}, "run.yaml:2: part.tags is 'a'; it must be a list"),
        ({"name": "x", "tags": ["a", 2]}, "run.yaml:2: part.tags.1 is 2; it must be text"),
        ({"name": "x", "engine": "openai"}, "run.yaml:4: part.engine is 'openai'; it must be a mapping of keys"),
        ({"name": "x", "extra": []}, "run.yaml:2: part.extra is []; it must be a mapping of keys"),
        ({"name": "x", "temperature": -1}, "run.yaml:3: part.temperature -1.0: must be 0 or more"),
        ({"name": "bad"}, "run.yaml:2: part: that name is taken"),
        ("x", "run.yaml:2: part is 'x'; write its keys beneath it"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_line(values, message):
    with pytest.raises(UserError) as raised:
        build(Settings, values, ("part",), SOURCE)
    assert str(raised.value) == message
