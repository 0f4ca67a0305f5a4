"""YAML as YAML 1.2 reads it, with the line of every key.

PyYAML follows YAML 1.1, where `off` and `no` are false (the one a setting here, the other Norwegian) and `1e-5` is
text. Only its parser is used: the values are resolved here, so nothing but plain values can come out.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from congrad.errors import UserError

KeyPath = tuple[str, ...]
NULL, TRUE, FALSE = ("", "~", "null", "Null", "NULL"), ("true", "True", "TRUE"), ("false", "False", "FALSE")
INTEGER = re.compile(r"[-+]?[0-9]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)")
MOST_DIGITS = 4000  # Python reads no more as a number; no setting takes so large a one
MOST_VALUES = 100_000  # with what aliases stand for: a few lines of them can mean millions of values
MOST_CHARACTERS = 100_000  # which can take seconds to read; settings are a few thousand
STANDARD_TAG = "tag:yaml.org,2002:"


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """The mapping of a YAML file, and the line of every key in it: `("generate", "temperature")` -> 12.

    Raises:
        UserError: the file is missing, is not YAML or not a mapping, or has a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", "check the path", at=path) from error
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 (byte {error.start})", "save it as UTF-8", at=path) from error
    lines: dict[KeyPath, int] = {}
    value = parse_yaml(text, str(path), lines)
    if not isinstance(value, dict | None):
        raise UserError("holds no sections", "write `model:` and the others, each with its keys", at=path)
    return value or {}, lines


def parse_yaml(
    text: str, name: str, lines: dict[KeyPath, int] | None = None, path: KeyPath = (), most: int = MOST_CHARACTERS
) -> Any:
    """A YAML document's plain value.

    Args:
        name: of the document, for errors.
        lines: gains the line of every key by its path; None for a single line, whose number is not said.
        path: of the keys that the document lies below.
        most: characters that it may have.
    """
    if len(text) > most:
        problem = f"has {len(text):,} characters, and settings have at most {most:,}"
        raise UserError(problem, "name a file of settings", at=name)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return None if node is None else _Reader(name, lines).plain(node, path, [])
    except RecursionError as error:
        raise UserError("is nested too deeply", "write it flatter", at=name) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        complaint = " ".join(str(error.problem or error.context).split())
        has_colon = "mapping values" in complaint
        fix = "put a value that holds a colon into quotes" if has_colon else "fix it, or put it into quotes"
        where = name if lines is None or mark is None else f"{name}:{mark.line + 1}"
        raise UserError(f"not YAML ({complaint})", fix, at=where) from error
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise UserError(f"not YAML ({' '.join(str(error).split())})", "remove the character", at=name) from error


@dataclass(frozen=True)
class _Reader:
    """Of one document, with its name and the lines of its keys."""

    name: str
    lines: dict[KeyPath, int] | None
    values: Iterator[int] = field(default_factory=count)

    def at(self, node: yaml.Node) -> str:
        return self.name if self.lines is None else f"{self.name}:{node.start_mark.line + 1}"

    def plain(self, node: yaml.Node, path: KeyPath, within: list[yaml.Node]) -> Any:
        if any(node is outer for outer in within):
            raise UserError("an alias that refers to itself", "write the value out", at=self.at(node))
        if next(self.values) == MOST_VALUES:
            problem = f"holds more than {MOST_VALUES:,} values, with those that aliases stand for"
            raise UserError(problem, "write fewer aliases", at=self.name)
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node, self.at(node))
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*path, str(number)), [*within, node]) for number, item in enumerate(node.value)]
        assert isinstance(node, yaml.MappingNode)
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise UserError("a key that is not a word", "write `key: value`", at=self.at(key_node))
            key = key_node.value
            inner = (*path, key)
            if key in found:
                first = "" if self.lines is None else f", first in line {self.lines[inner]}"
                raise UserError(f"{'.'.join(inner)} is given twice{first}", "keep one", at=self.at(key_node))
            if self.lines is not None:
                self.lines[inner] = key_node.start_mark.line + 1
            found[key] = self.plain(value_node, inner, [*within, node])
        return found


def _scalar(node: yaml.ScalarNode, where: str) -> Any:
    text: str = node.value
    if node.style is not None:  # in quotes or a block: text
        return text
    # An explicit tag that resolution would not have given is one of the user's: `!!python/...`, `!secret`.
    if not node.tag.startswith(STANDARD_TAG) or node.tag.startswith(STANDARD_TAG + "python"):
        raise UserError(f"the tag {node.tag!r} is not supported here", "write a plain value", at=where)
    return resolve_scalar(text)


def resolve_scalar(text: str) -> Any:
    """The value of an unquoted word by YAML 1.2's core schema."""
    if text in NULL:
        return None
    if text in TRUE or text in FALSE:
        return text in TRUE
    if INTEGER.fullmatch(text):
        return int(text) if len(text) <= MOST_DIGITS else text
    if FLOAT.fullmatch(text):
        return float(text)
    if INFINITE.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


class _Dumper(yaml.SafeDumper):
    """Quotes every word that another reader, by YAML 1.1 or 1.2, could take for something else than text."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Of 1.1's other meanings the dumper takes care itself.
    plain = isinstance(resolve_scalar(text), str)
    return dumper.represent_scalar(STANDARD_TAG + "str", text, style=None if plain else '"')


_Dumper.add_representer(str, _represent_text)


def dump_yaml(content: Mapping[str, Any]) -> str:
    """The same values as YAML text, keys in their order; `parse_yaml` gives them back."""
    text: str = yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text
