"""Join per-language files into one dataset although their columns differ a little."""

from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np

from congrad.errors import UserError
from congrad.sources.part import Part
from congrad.sources.source import Source
from congrad.words import quote


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
    whole = [
        dataset.cast(datasets.Features({column: features[column] for column in dataset.column_names}))
        if any(dataset.features[column] != features[column] for column in dataset.column_names)
        else dataset
        for dataset in (part.dataset for part in parts)
    ]
    return datasets.concatenate_datasets(whole)


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
