"""What a reader typed, in a YAML file, as KEY=VALUE or as a flag, into checked sections; and their places in errors."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from congrad.errors import UNSET, UserError, plain_key
from congrad.settings.section import MAPPING, described, fields_of, is_section, shown, type_of, unknown
from congrad.settings.train import check_dpo_config
from congrad.settings.training import Rounds
from congrad.settings.tree import FROM_ELSEWHERE, MOVED, SECTIONS
from congrad.settings.yaml_file import KeyPath, parse_yaml, read_yaml

T = TypeVar("T")


@dataclass(frozen=True)
class Given:
    """All settings that a reader gave, and where.

    Attributes:
        values: nested mappings of plain values.
        file: the YAML file's name; "" without one.
        lines: of the file, by path of keys.
        words: KEY=VALUE by path of keys; it replaces what the file says.
        flags: the name and the text of each, by path of the key it is short for; they have the last word.
    """

    values: dict[str, Any]
    file: str = ""
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    words: Mapping[KeyPath, str] = field(default_factory=dict)
    flags: Mapping[KeyPath, tuple[str, str]] = field(default_factory=dict)

    def spell(self, key: str, value: Any = UNSET) -> str:
        """A key as it was typed, with its place: `--keep 2`, `selection.keep=2`, `run.yaml:12: selection.keep 2`."""
        path, plain = tuple(key.split(".")), plain_key(key, value)
        if path in self.flags:
            return " ".join(self.flags[path])
        if path in self.words:
            return self.words[path]
        for typed, beneath in self.words.items():  # a key that was made by one beneath it
            if typed[: len(path)] == path:
                return f"{beneath}: {plain}"
        for length in range(len(path), 0, -1):
            if (word := self.words.get(path[:length])) is not None:
                return f"{word}: {plain}"
            if (line := self.lines.get(path[:length])) is not None:
                return f"{self.file}:{line}: {plain}"
        return f"{self.file}: {plain}" if self.file else plain

    @contextmanager
    def spelled(self) -> Iterator[None]:
        """Errors that leave the block name keys as the reader typed them."""
        try:
            yield
        except UserError as error:
            if error.spell is plain_key:
                error.spell = self.spell
            raise

    def says(self, key: str) -> bool:
        """Whether the reader gave a key, or a section with anything in it."""
        inner: Any = self.values
        for name in key.split("."):
            if not isinstance(inner, Mapping) or inner.get(name) is None:
                return False
            inner = inner[name]
        return bool(inner != {})

    def leaves(self) -> Iterator[str]:
        """Every key that the reader gave a value."""
        return _keys_of(self.values, leaves=True)

    def is_from_file(self, key: str) -> bool:
        path = tuple(key.split("."))
        starts = {path[:length] for length in range(1, len(path) + 1)}
        return starts.isdisjoint(self.words) and starts.isdisjoint(self.flags)

    def section_values(self, name: str) -> dict[str, Any]:
        """What the user gave for a section, or one within another (`input.bounds`), as it was written."""
        values: dict[str, Any] = self.values
        for part in name.split("."):
            values = values.get(part, {})
        return values

    def check(self) -> None:
        """Checks every section that is there, whether it is used or not."""
        with self.spelled():
            for key in _keys_of(self.values):
                if key in MOVED:
                    raise UserError(f"is now {MOVED[key]}", "write that instead", key=key)
            for name, values in self.values.items():
                if name not in SECTIONS:
                    raise UserError(*unknown(name, SECTIONS), key=name)
                if not isinstance(values, Mapping):
                    raise UserError("must be a mapping of keys", key=name, value=shown(values))
            for name, values in self.values.items():
                if name == "train":
                    check_dpo_config(values, self.section(Rounds))
                else:  # what a section lacks is reported where it is used
                    self.section(SECTIONS[name], complete=False)

    def check_for_loop(self) -> None:
        """Refuses, by a `UserError`, a key that a loop takes from another section."""
        with self.spelled():
            for key, source in FROM_ELSEWHERE.items():
                if self.says(key):
                    raise UserError(f"is not read by a loop, which takes {source}", "set that instead", key=key)

    def section(self, kind: type[T], *, complete: bool = True) -> T:
        """A section with what was given; what was not has its default.

        Args:
            complete: whether a key that has no default must be there; else a mark stands for it.
        """
        values = {} if complete else {name: "?" for name, each in fields_of(kind).items() if each.is_required()}
        with self.spelled():
            return kind(**values | self.section_values(kind.section_name))  # type: ignore[attr-defined]

    def sections(self, root: type[T]) -> T:
        """The configuration that is made of sections."""
        kinds = {name: SECTIONS[name] for name in fields_of(root)}
        with self.spelled():
            return root(
                **{
                    name: self.section(kind) if is_section(kind) else self.section_values(name)
                    for name, kind in kinds.items()
                }
            )


def read(
    path: Path | None, words: Sequence[str] = (), flags: Mapping[str, tuple[str, str | None]] | None = None
) -> Given:
    """Reads and checks all that was given.

    Args:
        path: a YAML file.
        words: `generate.temperature=0.5`: a dotted key and a value as YAML writes it.
        flags: by dotted key, the flag that is short for it and its text; None where it was not given.

    Raises:
        UserError: what is wrong, by the place where it was typed.
    """
    values, lines = read_yaml(path) if path else ({}, {})
    values = {name: {} if section is None else section for name, section in values.items()}  # None: left empty
    typed: dict[KeyPath, str] = {}
    for word in words:
        key, sign, text = word.partition("=")
        keys = tuple(key.strip().split("."))
        if not sign or not all(keys):
            raise UserError(f"{word!r} is not KEY=VALUE", "write for instance index.projection_size=64")
        if (other := next((typed[path] for path in typed if path[: len(keys)] == keys), None)) is not None:
            raise UserError(f"{word!r} replaces {other!r}", "give one of them")
        put(values, keys, value_of(keys, text, word), word)
        typed[keys] = word
        lines = {path: line for path, line in lines.items() if path[: len(keys)] != keys}
    flagged: dict[KeyPath, tuple[str, str]] = {}
    for key, (name, flag_text) in (flags or {}).items():
        if flag_text is not None:
            keys = tuple(key.split("."))
            put(values, keys, flag_text if is_text(keys) else value_of(keys, flag_text, name), name)
            flagged[keys] = name, flag_text
            typed.pop(keys, None)
    given = Given(values, str(path or ""), lines, typed, flagged)
    given.check()
    return given


def is_override(word: str) -> bool:
    """Whether a word of the command line begins with the dotted key of a section."""
    key, sign, _ = word.partition("=")
    section, dot, rest = key.partition(".")
    return bool(sign and dot and rest) and section in SECTIONS


def value_of(keys: KeyPath, text: str, word: str) -> Any:
    """What a text on the command line would be in a file, after its key; where the key holds text alone, what would
    have to be put into quotes there, as `12:`, is text as it is."""
    try:
        found = parse_yaml(f"{json.dumps(keys[-1])}: {text}", word, path=keys[:-1])
        if len(found) > 1:
            raise UserError("is more than one value", "put it into quotes", at=word)
        return found[keys[-1]]
    except UserError:
        if holds(keys).startswith("text"):  # or a list: `*` and `!old*` are globs
            return text
        raise


def is_text(keys: KeyPath) -> bool:
    """Whether a key holds text, and neither a number nor several values."""
    return holds(keys) == "text"


def holds(keys: KeyPath) -> str:
    """What a key of the tree takes, in words; "" for one that does not exist, and for a section and what it takes of
    another program."""
    kind = SECTIONS.get(keys[0])
    hint = type_of(kind, keys[1:]) if is_section(kind) and len(keys) > 1 else None
    return "" if hint is None else described(hint)


def put(values: dict[str, Any], path: KeyPath, value: Any, word: str) -> None:
    """Sets a value in nested mappings, in place."""
    inner: Any = values
    for number, name in enumerate(path[:-1], 1):
        if inner.get(name) is None:
            inner[name] = {}
        inner = inner[name]
        wanted = holds(path[:number])
        if not isinstance(inner, dict) or wanted not in ("", MAPPING):
            what = wanted or shown(inner)
            raise UserError(f"{word!r}: {'.'.join(path[:number])} is {what} and has no keys", "set the whole of it")
    inner[path[-1]] = value


def _keys_of(values: Mapping[str, Any], prefix: str = "", *, leaves: bool = False) -> Iterator[str]:
    for key, value in values.items():
        inner = isinstance(value, Mapping)
        if not (leaves and inner):
            yield f"{prefix}{key}"
        if inner:
            yield from _keys_of(value, f"{prefix}{key}.", leaves=leaves)
