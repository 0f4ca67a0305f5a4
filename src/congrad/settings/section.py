"""A section of the settings tree: a frozen dataclass that checks itself, whose attributes are keys.

One declaration of an attribute gives the name in Python, the key in YAML and on the command line, the check, and with
the text below it the line in the help and in the reference (`congrad.settings.reference`). Nothing is coerced between
text, numbers and booleans; a list stands for a tuple, a whole number for a number, and a path for its text.
"""

import dataclasses
import difflib
import functools
import os
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import pydantic.dataclasses
from annotated_types import Ge, Le
from pydantic import BeforeValidator, ConfigDict, Strict, ValidationError

from congrad.errors import UNSET, UserError

T = TypeVar("T")
CONFIG = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
LEAVES = (str, int, float, bool)
NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
LIST, MAPPING = "a list", "a mapping of keys"
BOUNDS = (("ge", "{} or more"), ("gt", "above {}"), ("le", "at most {}"), ("lt", "below {}"))

Count = Annotated[int, Ge(1)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
"""What all generators of random numbers take, NumPy's older one too."""
PathText = Annotated[str, BeforeValidator(lambda value: os.fspath(value) if isinstance(value, os.PathLike) else value)]
"""A path: one of `pathlib` becomes its text."""


def refused(field: str, problem: str, fix: str = "", *, value: Any = UNSET) -> ValueError:
    """To be raised in `__post_init__`; arguments as of `UserError`, `field` as in the section."""
    return ValueError(UserError(problem, fix, key=field, value=value))


@typing.dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def section(name: str) -> Callable[[type[T]], type[T]]:
    """Makes a class a section.

    Args:
        name: the key of the section where it stands alone, as a user of Python meets it; "" for a root.
    """

    def make(cls: type[T]) -> type[T]:
        cls = dataclasses.dataclass(frozen=True)(cls)
        for key, hint in typing.get_type_hints(cls, include_extras=True).items():
            cls.__dataclass_fields__[key].type = _strict(hint)  # type: ignore[attr-defined]
        made: Any = pydantic.dataclasses.dataclass(frozen=True, config=CONFIG)(cls)
        checked_init = made.__init__

        @functools.wraps(checked_init)
        def __init__(self: Any, *arguments: Any, **values: Any) -> None:
            try:
                checked_init(self, *arguments, **values)
            except ValidationError as error:
                raise as_user_error(made, error, tuple(filter(None, name.split(".")))) from None

        made.__init__, made.section_name, made.__doc__ = __init__, name, cls.__doc__
        checked: type[T] = made
        return checked

    return make


def _strict(hint: Any) -> Any:
    """The same type without coercion: `5` is not text, and "5" and true are not numbers."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in LEAVES:
        return Annotated[hint, Strict()]
    if origin in (typing.Union, types.UnionType):
        return functools.reduce(lambda one, other: one | other, map(_strict, arguments))
    if origin is Annotated:
        return Annotated[(_strict(arguments[0]), *arguments[1:])]
    if origin is tuple:
        return tuple.__class_getitem__((_strict(arguments[0]), ...))
    return hint


def fields_of(kind: Any) -> Mapping[str, Any]:
    """The attributes of a section as pydantic knows them: `annotation`, `default`, `description`, `is_required()`."""
    found: Mapping[str, Any] = kind.__pydantic_fields__
    return found


def differs(section: Any, name: str) -> bool:
    """Whether an attribute of a section is not its default."""
    return bool(getattr(section, name) != fields_of(type(section))[name].get_default(call_default_factory=True))


def is_section(hint: Any) -> bool:
    return isinstance(hint, type) and hasattr(hint, "__pydantic_fields__")


def section_in(hint: Any) -> tuple[Any, bool]:
    """The section that a type allows, and whether as a list of them; None where it allows none."""
    if is_section(hint):
        return hint, False
    many = typing.get_origin(hint) is tuple
    for argument in typing.get_args(hint):
        found, within = section_in(argument)
        if found is not None:
            return found, many or within
    return None, False


def type_of(kind: Any, path: Sequence[str]) -> Any:
    """The annotation of a key below a section; None where there is no such key."""
    if (each := fields_of(kind).get(path[0])) is None:
        return None
    hint = Annotated[(each.annotation, *each.metadata)] if each.metadata else each.annotation
    if len(path) == 1:
        return hint
    inner, many = section_in(hint)
    if inner is None:
        return _element(hint) if len(path) == 2 else None
    rest = path[2:] if many and path[1].isdecimal() else path[1:]
    return type_of(inner, rest) if rest else inner


def _element(hint: Any) -> Any:
    """What a list of it holds; None where it is not a list."""
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0]
    return next((found for argument in typing.get_args(hint) if (found := _element(argument)) is not None), None)


# What is wrong, in words


def as_user_error(kind: Any, error: ValidationError, prefix: tuple[str, ...]) -> UserError:
    """The first mistake that pydantic found, by key; an unknown key before all others, since it may explain them."""
    found = error.errors(include_url=False)
    first = next((each for each in found if each["type"] == "unexpected_keyword_argument"), found[0])
    if first["type"] == "unexpected_positional_argument":
        problem = f"{kind.__name__} has {len(fields_of(kind))} settings, and more values were given"
        return UserError(problem, "give them by name")
    is_unknown = first["type"] == "unexpected_keyword_argument"
    if not is_unknown:  # of a list that may also be a text, what is wrong inside it
        same = [each for each in found if each["loc"][:1] == first["loc"][:1]]
        first = max(same, key=lambda each: len(each["loc"]))
    path = _keys(kind, first["loc"], is_unknown=is_unknown)
    key, value = ".".join((*prefix, *path)), first["input"]
    if (cause := first.get("ctx", {}).get("error")) is not None:  # what `refused` made
        wrong: UserError = cause.args[0]
        wrong.key = f"{key}.{wrong.key}" if key else wrong.key
        return wrong
    if is_unknown:
        parent, _ = section_in(type_of(kind, path[:-1])) if len(path) > 1 else (kind, False)
        return UserError(*unknown(path[-1], fields_of(parent)), key=key)
    if first["type"] in ("missing", "missing_argument"):
        return UserError("is missing", "give it a value", key=key)
    hint = type_of(kind, path) if path else kind
    if first["type"].startswith(("greater_than", "less_than")):
        return UserError(f"must be {_bounds(hint)}", key=key, value=shown(value))
    finite = "finite " if first["type"] == "finite_number" else ""
    wanted = described(hint).replace("a number", f"a {finite}number")
    fix = did_you_mean(value, [choice for choice in _choices(hint) if isinstance(choice, str)])
    if wanted in (NAMES[str], f"{NAMES[str]} or {LIST}") and isinstance(value, int | float):
        text = shown(value)
        fix = f'put it into quotes: "{text}"; in a shell into two: \'"{text}"\''
    if wanted == LIST and isinstance(value, LEAVES):
        fix = f"write [{value if isinstance(value, str) else shown(value)}]"
    return UserError(f"must be {wanted}", fix, key=key, value=shown(value))


def _keys(kind: Any, location: Sequence[str | int], *, is_unknown: bool) -> tuple[str, ...]:
    """The keys on the way to a mistake.

    Pydantic also names positions of arguments, and members of unions: `str`, `tuple[str, ...]`, `literal['auto']`.

    Args:
        is_unknown: whether the last of them is a key that does not exist.
    """
    path: tuple[str, ...] = ()
    for number, step in enumerate(location):
        inner = kind if not path else section_in(type_of(kind, path))[0]
        is_key = inner is not None and step in fields_of(inner)
        if isinstance(step, int) and not path:
            path = (list(fields_of(kind))[step],)
        elif isinstance(step, int) or is_key or (is_unknown and number == len(location) - 1):
            path = (*path, str(step))
    return path


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values; a list is a value."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def unknown(key: str, known: Iterable[str]) -> tuple[str, str]:
    """What is said of a key that does not exist: the nearest, or all where none is near."""
    known = sorted(known)
    choose = f"choose from {', '.join(known)}" if len(known) < 30 else "check its name"
    return "is unknown", did_you_mean(key, known, choose)


def did_you_mean(value: Any, known: Iterable[str], otherwise: str = "") -> str:
    """The fix that names the nearest word, or another where none is near."""
    by_case = {word.lower(): word for word in known}
    near = difflib.get_close_matches(value.lower(), by_case, n=1) if isinstance(value, str) else []
    return f"did you mean {by_case[near[0]]}?" if near else otherwise


def _choices(hint: Any) -> list[Any]:
    """The words that a type allows by itself, not within a list."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        return list(typing.get_args(hint))
    if origin is tuple:
        return []
    return [choice for argument in typing.get_args(hint) for choice in _choices(argument)]


def shown(value: Any) -> str:
    """A value as a person wrote it, cut short."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "(a mapping)"
    text = f"[{', '.join(map(shown, value))}]" if isinstance(value, list | tuple) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def described(hint: Any) -> str:
    """What a type allows, in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        bounds = _bounds(hint)
        return f"{described(arguments[0])}{', ' if bounds else ''}{bounds}"
    if origin in (typing.Union, types.UnionType):
        own = [described(argument) for argument in arguments if argument is not type(None)]
        return (", or " if any("," in each for each in own) else " or ").join(own)
    if origin is Literal:
        return " or ".join(map(str, arguments)) if len(arguments) < 3 else "one of " + ", ".join(map(str, arguments))
    if origin is tuple:
        return LIST
    if is_section(hint) or hint is dict or origin is dict:
        return MAPPING
    return NAMES.get(hint, "a value")


def _bounds(hint: Any) -> str:
    """`1 or more`, `above 0 and at most 1`; "" where there are none."""
    marks = [each for argument in typing.get_args(hint) for each in (argument, *typing.get_args(argument))]
    found = [text.format(getattr(mark, name)) for name, text in BOUNDS for mark in marks if hasattr(mark, name)]
    return " and ".join(found)
