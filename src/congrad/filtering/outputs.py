"""The files of a run: scores.parquet, kept.jsonl, dropped.jsonl, languages.json and, last, manifest.json.

Each is written under a temporary name and renamed; manifest.json is taken away before and put there after the others,
so that its presence means that they belong together.
"""

import importlib.metadata
import json
import math
import os
import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from congrad.errors import UserError
from congrad.filtering.score import ScoredRows
from congrad.gradients.index import write_json
from congrad.preferences import Preferences

SCORE_COLUMN = "congrad_score"
BATCH = 1000
PACKAGES = ("congrad", "torch", "transformers", "datasets", "safetensors", "pyarrow", "numpy", "peft", "torchjd")


def is_run(directory: Path) -> bool:
    """Whether a run of ours was finished or begun here."""
    return (directory / "manifest.json").is_file() or (directory / "index" / "plan.json").is_file()


def prepare_output(directory: Path) -> None:
    """Makes the run's directory, or checks that it is empty or a run of ours, and that it can be written.

    Raises:
        UserError: it is neither, or cannot be written.
    """
    try:
        if directory.exists() and not directory.is_dir():
            raise UserError(f"--output {directory} is a file; name a directory")
        if directory.is_dir() and any(directory.iterdir()) and not is_run(directory):
            raise UserError(
                f"--output {directory} is not empty and no run of congrad's; name a new or an empty directory"
            )
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"--output {directory} cannot be written ({error.strerror}); name another directory") from error


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends well.

    Raises:
        UserError: the disk is full or the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot write ({error.strerror}); free some space and run the command again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def without_nan(value: Any) -> Any:
    """NaN and infinities, which JSON has no word for, as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return value


def json_line(row: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        text = json.dumps(without_nan(dict(row)), ensure_ascii=False, default=str)
    return text.encode("utf-8", "surrogatepass") + b"\n"


def write_rows(directory: Path, preferences: Preferences, score_N: Any, keep_N: Any) -> None:
    """kept.jsonl and dropped.jsonl: the input's own columns and `congrad_score`, in input order."""
    dataset = preferences.dataset
    if SCORE_COLUMN in dataset.column_names:
        dataset = dataset.remove_columns(SCORE_COLUMN)
    with replacing(directory / "kept.jsonl") as kept, replacing(directory / "dropped.jsonl") as dropped:
        for start in range(0, len(dataset), BATCH):
            columns = dataset[start : start + BATCH]
            scores, keep = score_N[start : start + BATCH].tolist(), keep_N[start : start + BATCH].tolist()
            for i, (value, stays) in enumerate(zip(scores, keep, strict=True)):
                row = {name: column[i] for name, column in columns.items()} | {SCORE_COLUMN: without_nan(value)}
                (kept if stays else dropped).write(json_line(row))


def scores_table(scored: ScoredRows, keep_N: Any, reason_N: list[str]) -> pa.Table:
    """scores.parquet's columns in their order."""
    rows = scored.rows
    columns = ["row", "language", "score", "keep", "reason", "chosen_logp", "rejected_logp"]
    columns += ["chosen_tokens", "rejected_tokens", *(f"cosine_{name}" for name in scored.languages)]
    rows = rows.drop_columns(["reason"]).append_column("keep", pa.array(np.asarray(keep_N), pa.bool_()))
    return rows.append_column("reason", pa.array(reason_N, pa.string())).select(columns)


def languages_content(scored: ScoredRows) -> dict[str, Any]:
    """languages.json; null where there is nothing to say."""
    agreement = scored.detail.agreement
    content = {
        "languages": scored.languages,
        "num_pairs": scored.detail.num_pairs_L.tolist(),
        "cosine": agreement.cosine_LL.tolist(),
        "cosine_interval": agreement.interval_LL2.tolist(),
        "cosine_corrected": agreement.corrected_LL.tolist(),
        "consensus_weights": scored.detail.weight_L.tolist(),
    }
    result: dict[str, Any] = without_nan(content)
    return result


def versions() -> dict[str, str]:
    """Versions of Python and of every installed package that can change a result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write_outputs(
    directory: Path,
    preferences: Preferences,
    scored: ScoredRows,
    keep_N: Any,
    reason_N: list[str],
    manifest: Mapping[str, Any],
) -> None:
    """Writes the run's files; the manifest gains the counts by reason and the versions.

    Raises:
        UserError: the disk is full or the place cannot be written.
    """
    (directory / "manifest.json").unlink(missing_ok=True)
    write_rows(directory, preferences, scored.score_N, keep_N)
    with replacing(directory / "scores.parquet") as file:
        pq.write_table(scores_table(scored, keep_N, reason_N), file)
    write_json(directory / "languages.json", languages_content(scored))
    counts = dict(sorted(Counter(reason_N).items()))
    write_json(directory / "manifest.json", {**manifest, "reasons": counts, "versions": versions()})
