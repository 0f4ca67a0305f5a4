"""Plain values into frozen dataclasses: unknown keys and wrong types are refused by key, with the nearest name."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from congrad.errors import UserError
from congrad.loop.yaml_file import KeyPath

T = TypeVar("T")
NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a configuration comes from, to say where in it a mistake is.

    Attributes:
        name: of the file.
        lines: by path of keys.
        overrides: the words of the command line that replaced a value, by path of keys.
    """

    name: str = ""
    lines: Mapping[KeyPath, int] = dataclasses.field(default_factory=dict)
    overrides: Mapping[KeyPath, str] = dataclasses.field(default_factory=dict)

    def where(self, path: KeyPath) -> str:
        """`run.yaml:12: `, or nothing where the key is not from the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.overrides:
                return "command line: "
            if path[:length] in self.lines:
                return f"{self.name}:{self.lines[path[:length]]}: "
        return f"{self.name}: " if self.name else ""

    def error(self, path: KeyPath, complaint: str) -> UserError:
        return UserError(f"{self.where(path)}{'.'.join(path)} {complaint}")


def unknown(key: str, known: Iterable[str]) -> str:
    """What is said of a key that does not exist: the nearest, or all where none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if near:
        return f"is unknown; did you mean {near[0]}?"
    return f"is unknown; choose from {', '.join(known)}" if len(known) < 30 else "is unknown; check its name"


def build(kind: type[T], values: Any, path: KeyPath, source: Source) -> T:
    """An instance of a settings dataclass from a mapping; what is left out has its default.

    Args:
        kind: a dataclass of plain values, sequences, mappings and such dataclasses.
        values: what stands under `path`; None (a section left empty) is an empty mapping.
        path: the keys that lead there.
        source: for errors.

    Raises:
        UserError: a key that does not exist, that is missing or has the wrong type, or what the dataclass itself
            refuses, by key and line.
    """
    values = {} if values is None else values
    if not isinstance(values, Mapping):
        raise source.error(path, f"is {shown(values)}; write its keys beneath it")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    arguments = {}
    for key, value in values.items():
        if key not in fields:
            raise source.error((*path, key), unknown(key, fields))
        arguments[key] = convert(hints[key], value, (*path, key), source)
    missing = [name for name, field in fields.items() if name not in arguments and is_required(field)]
    if missing:
        raise source.error((*path, missing[0]), "is missing; give it a value")
    try:
        return kind(**arguments)
    except UserError as error:
        raise located(error, path, source) from error


def is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def located(error: UserError, path: KeyPath, source: Source) -> UserError:
    """The same, with the line of the key that it begins with, or else with the section's name before it."""
    message = str(error)
    key = tuple(message.split(maxsplit=1)[0].rstrip(":").split(".")) if message else ()
    if key[: len(path)] == path:
        return UserError(source.where(key) + message)
    if any(message.startswith(prefix) for prefix in (source.name + ":", "command line: ") if prefix != ":"):
        return error  # of a section within this one
    return UserError(f"{source.where(path)}{'.'.join(path)}: {message}")


def convert(hint: Any, value: Any, path: KeyPath, source: Source) -> Any:
    """A value as its annotation wants it: a whole number may stand for a number, a list for a tuple."""
    matched, result = _match(hint, value, path, source)
    if not matched:
        raise source.error(path, f"is {shown(value)}; it must be {described(hint)}")
    return result


def _match(hint: Any, value: Any, path: KeyPath, source: Source) -> tuple[bool, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True, value
    if origin in (typing.Union, types.UnionType):
        return _match_union(arguments, value, path, source)
    if origin is typing.Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments), value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            return False, None
        return True, build(hint, value, path, source)
    if origin in (list, tuple) or getattr(origin, "__name__", "") == "Sequence":
        if not isinstance(value, list | tuple):
            return False, None
        item = arguments[0] if arguments else Any
        items = [convert(item, each, (*path, str(number)), source) for number, each in enumerate(value)]
        return True, items if origin is list else tuple(items)
    if origin is dict or hint is dict or getattr(origin, "__name__", "") == "Mapping":
        if not isinstance(value, Mapping):
            return False, None
        item = arguments[1] if arguments else Any
        return True, {key: convert(item, each, (*path, key), source) for key, each in value.items()}
    if hint is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number, float(value) if is_number else None
    assert hint in NAMES, f"{'.'.join(path)} has the annotation {hint}, which no YAML value has"
    return type(value) is hint, value


def _match_union(hints: tuple[Any, ...], value: Any, path: KeyPath, source: Source) -> tuple[bool, Any]:
    if value is None:
        return type(None) in hints, None
    # The exact type first: 1 for `int | float` stays 1.
    for hint in sorted((hint for hint in hints if hint is not type(None)), key=lambda hint: type(value) is not hint):
        matched, result = _match(hint, value, path, source)
        if matched:
            return True, result
    return False, None


def shown(value: Any) -> str:
    """A value as a person wrote it, cut short."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping"
    text = f"[{', '.join(map(shown, value))}]" if isinstance(value, list | tuple) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def described(hint: Any) -> str:
    """What an annotation allows, in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(described(argument) for argument in arguments)
    if origin is typing.Literal:
        return " or ".join(map(str, arguments)) if len(arguments) < 3 else "one of " + ", ".join(map(str, arguments))
    if origin in (list, tuple) or getattr(origin, "__name__", "") == "Sequence":
        return "a list"
    if dataclasses.is_dataclass(hint) or origin is dict or hint is dict:
        return "a mapping of keys"
    return NAMES.get(hint, "a value")
