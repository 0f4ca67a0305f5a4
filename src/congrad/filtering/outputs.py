"""The files of a run: scores.parquet, kept.jsonl, dropped.jsonl, languages.json and, last, manifest.json.

All are written in a directory of their own and renamed when they are whole, so that a full disk leaves an earlier
result as it was. The presence of manifest.json means that they belong together.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from congrad.consensus import conflict
from congrad.errors import UserError
from congrad.files import json_line, versions, without_nan, write_json
from congrad.filtering.directory import SCORE_COLUMN, STAGING
from congrad.filtering.score import ScoredRows
from congrad.preferences import Preferences

BATCH = 1000


@contextmanager
def staging(directory: Path) -> Iterator[Path]:
    """An empty directory whose files take their places in `directory` when the block ends well: all or none.

    manifest.json is taken away before and put there after the others; a report.html on what was there goes too.

    Raises:
        UserError: the disk is full or the place cannot be written.
    """
    new = directory / STAGING
    try:
        directory.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(new, ignore_errors=True)  # what a killed process left
        new.mkdir()
        yield new
        for name in ("manifest.json", "report.html"):
            (directory / name).unlink(missing_ok=True)
        for path in sorted(new.iterdir(), key=lambda path: path.name == "manifest.json"):
            path.replace(directory / path.name)
    except OSError as error:
        raise UserError(
            f"{directory}: cannot write ({error.strerror}); free some space and run the command again"
        ) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def write_rows(
    directory: Path, preferences: Preferences, score_N: Any, keep_N: Any, *, column: str = SCORE_COLUMN
) -> None:
    """kept.jsonl and dropped.jsonl: the input's own columns and the score in `column`, in input order."""
    dataset = preferences.dataset
    if column in dataset.column_names:
        dataset = dataset.remove_columns(column)
    with (directory / "kept.jsonl").open("wb") as kept, (directory / "dropped.jsonl").open("wb") as dropped:
        for start in range(0, len(dataset), BATCH):
            columns = dataset[start : start + BATCH]
            scores, keep = score_N[start : start + BATCH].tolist(), keep_N[start : start + BATCH].tolist()
            for i, (value, stays) in enumerate(zip(scores, keep, strict=True)):
                row = {name: values[i] for name, values in columns.items()} | {column: without_nan(value)}
                (kept if stays else dropped).write(json_line(row))


def scores_table(scored: ScoredRows, keep_N: Any, reason_N: list[str]) -> pa.Table:
    """scores.parquet's columns in their order."""
    rows = scored.rows
    columns = ["row", "language", "group", "score", "keep", "reason", "chosen_logp", "rejected_logp"]
    columns += ["chosen_tokens", "rejected_tokens", *(f"cosine_{name}" for name in scored.languages)]
    rows = rows.drop_columns(["reason"]).append_column("keep", pa.array(np.asarray(keep_N), pa.bool_()))
    return rows.append_column("reason", pa.array(reason_N, pa.string())).select(columns)


def languages_content(scored: ScoredRows) -> dict[str, Any]:
    """languages.json; null where there is nothing to say."""
    agreement = scored.detail.agreement
    num_pairs_L = scored.detail.num_pairs_L
    content = {
        "languages": scored.languages,
        "num_pairs": num_pairs_L.tolist(),
        "cosine": agreement.cosine_LL.tolist(),
        "cosine_interval": agreement.interval_LL2.tolist(),
        "cosine_corrected": agreement.corrected_LL.tolist(),
        "cosine_after_surgery": scored.detail.after_surgery_LL.tolist(),
        "consensus_weights": scored.detail.weight_L.tolist(),
        "conflict": conflict.conflict_matrix(agreement.interval_LL2.numpy(), num_pairs_L.numpy()),
        "conflict_min_pairs": conflict.MIN_PAIRS,
    }
    result: dict[str, Any] = without_nan(content)
    return result


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
    counts = dict(sorted(Counter(reason_N).items()))
    with staging(directory) as new:
        write_rows(new, preferences, scored.score_N, keep_N)
        with (new / "scores.parquet").open("wb") as file:
            pq.write_table(scores_table(scored, keep_N, reason_N), file)
        write_json(new / "languages.json", languages_content(scored))
        write_json(new / "manifest.json", {**manifest, "reasons": counts, "versions": versions()})
