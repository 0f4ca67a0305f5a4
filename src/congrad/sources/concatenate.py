"""Join per-language files into one dataset although their columns differ a little."""

from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from congrad.errors import UserError
from congrad.sources.part import Part
from congrad.sources.source import Source
from congrad.words import one_line, quote


def concatenate(parts: Sequence[Part]) -> datasets.Dataset:
    """Join the parts in order. A column that a part lacks is null there; integers and floats meet in the wider type.

    Raises:
        UserError: A column holds, say, numbers in one part and text in another.
    """
    if len(parts) == 1:
        return parts[0].dataset
    features: dict[str, Any] = {}
    first: dict[str, Source] = {}
    for part in parts:
        source = part.source
        for column, feature in part.dataset.features.items():
            known = features.setdefault(column, feature)
            first.setdefault(column, source)
            common = _common(known, feature)
            if common is None:
                types = f"{_name(known)} in {first[column].name} and {_name(feature)} in {source.name}"
                raise UserError(f"holds {types}", "give it one type in all files, or remove it", column=column)
            if common != known:
                features[column] = common
    return datasets.concatenate_datasets([_with_types(part, features) for part in parts])


def _with_types(part: Part, features: dict[str, Any]) -> datasets.Dataset:
    """The rows of a part with columns of these types."""
    wanted = datasets.Features({column: features[column] for column in part.dataset.column_names})
    changed = [column for column in wanted if part.dataset.features[column] != wanted[column]]
    if not changed:
        return part.dataset
    try:
        return part.dataset.cast(wanted)
    except pa.ArrowInvalid as error:  # a whole number that no floating point number is equal to
        types = " and ".join(dict.fromkeys(_name(each[changed[0]]) for each in (part.dataset.features, wanted)))
        problem = f"holds numbers that change between the types of the files, {types} ({one_line(error)})"
        fix = "give it one type in all files, or remove it"
        raise UserError(problem, fix, at=part.source.name, column=changed[0]) from error


def _common(one: Any, other: Any) -> Any | None:
    """The feature that holds what `one` and `other` hold, or None."""
    if one == other:
        return one
    for this, that in ((one, other), (other, one)):
        if isinstance(this, datasets.Value) and this.dtype == "null":
            return that
        if getattr(this, "_type", None) == "Json":  # messages or tools whose keys differ from row to row
            return this
    if isinstance(one, dict) and isinstance(other, dict):
        merged = {key: _common(one.get(key, other.get(key)), other.get(key, one.get(key))) for key in {**one, **other}}
        return None if None in merged.values() else merged
    if isinstance(one, datasets.List) and isinstance(other, datasets.List):
        item = _common(one.feature, other.feature)
        return None if item is None else datasets.List(item)
    if isinstance(one, datasets.Value) and isinstance(other, datasets.Value):
        return _wider(one.dtype, other.dtype)
    return None


def _wider(one: str, other: str) -> datasets.Value | None:
    if {one, other} == {"string", "large_string"}:
        return datasets.Value("large_string")
    if all(dtype.startswith(("int", "uint", "float")) for dtype in (one, other)):
        return datasets.Value(str(np.promote_types(one, other)))
    return None


def _name(feature: Any) -> str:
    return feature.dtype if isinstance(feature, datasets.Value) else quote(feature)
