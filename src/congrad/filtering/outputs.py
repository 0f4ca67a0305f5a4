"""The files of a run: scores.parquet, kept.jsonl, dropped.jsonl, languages.json, advice.json and, last, manifest.json;
where the data need them, bad_rows.jsonl, kept.parquet and dropped.parquet.

They take their places together (`congrad.stage.staging`), so that a full disk leaves an earlier result as it was.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from congrad.consensus import conflict
from congrad.consensus.findings import MIN_PAIRS
from congrad.files import json_line, versions, whole_file, without_nan, write_json
from congrad.filtering.advised import FILE as ADVICE
from congrad.filtering.directory import BAD_ROWS, OPTIONAL, RUN, SCORE_COLUMN
from congrad.filtering.exact import columns_for_json, inexact_columns, write_exact
from congrad.filtering.left_out import listed
from congrad.filtering.score import ScoredRows
from congrad.preferences import Preferences
from congrad.stage import staging

BATCH = 1000


def write_selection(directory: Path, preferences: Preferences, score_N: Any, keep_N: Any, column: str) -> None:
    """kept.jsonl and dropped.jsonl: the input's own columns and the score in `column`, in input order; where JSON does
    not give a column back as it is, kept.parquet and dropped.parquet too."""
    dataset = preferences.dataset
    if column in dataset.column_names:
        dataset = dataset.remove_columns(column)
    with (directory / "kept.jsonl").open("xb") as kept, (directory / "dropped.jsonl").open("xb") as dropped:
        for start in range(0, len(dataset), BATCH):
            columns = columns_for_json(dataset, start, start + BATCH)
            scores, keep = score_N[start : start + BATCH].tolist(), keep_N[start : start + BATCH].tolist()
            for i, (value, stays) in enumerate(zip(scores, keep, strict=True)):
                row = {name: values[i] for name, values in columns.items()} | {column: without_nan(value)}
                (kept if stays else dropped).write(json_line(row))
    if inexact_columns(dataset):
        write_exact(directory, dataset, score_N, keep_N, column)


def scores_table(rows: pa.Table, keep_N: Any, reason_N: list[str], languages: Sequence[str] = ()) -> pa.Table:
    """scores.parquet's columns in their order.

    Args:
        rows: an index's pairs with `score`, `chosen_logp`, `rejected_logp` and a `cosine_*` for each of `languages`.
    """
    columns = ["row", "language", "group", "score", "keep", "reason", "chosen_logp", "rejected_logp"]
    columns += ["chosen_tokens", "rejected_tokens", *(f"cosine_{name}" for name in languages)]
    rows = rows.drop_columns(["reason"]).append_column("keep", pa.array(np.asarray(keep_N), pa.bool_()))
    return rows.append_column("reason", pa.array(reason_N, pa.string())).select(columns)


def languages_content(scored: ScoredRows) -> dict[str, Any]:
    """languages.json; null where there is nothing to say."""
    agreement, num_pairs_L = scored.detail.agreement, scored.detail.num_pairs_L
    content = {
        "languages": scored.languages,
        "num_pairs": num_pairs_L.tolist(),
        "cosine": agreement.cosine_LL.tolist(),
        "cosine_interval": agreement.interval_LL2.tolist(),
        "cosine_corrected": agreement.corrected_LL.tolist(),
        "cosine_corrected_interval": agreement.corrected_interval_LL2.tolist(),
        "cosine_smallest": agreement.smallest_LL.tolist(),
        "cosine_after_surgery": scored.detail.after_surgery_LL.tolist(),
        "consensus_weights": scored.detail.weight_L.tolist(),
        "verdict": conflict.in_words(agreement.verdict_LL),
        "conflict_min_pairs": MIN_PAIRS,
    }
    result: dict[str, Any] = without_nan(content)
    return result


def write_run(
    directory: Path,
    preferences: Preferences,
    table: pa.Table,
    score_N: Any,
    manifest: Mapping[str, Any],
    *,
    column: str = SCORE_COLUMN,
    languages: Mapping[str, Any] | None = None,
    advice: Mapping[str, Any] | None = None,
) -> None:
    """Writes the run's files; the manifest gains the versions, and what spoke of an earlier result goes.

    Args:
        table: of scores.parquet.
        score_N: the scores as the rows of kept.jsonl and dropped.jsonl have them in `column`.
        languages: of languages.json, where the filter compares languages.
        advice: of advice.json, from the same filter.
    """
    with staging(directory, RUN, "report.html", *OPTIONAL) as new:
        write_selection(new, preferences, score_N, table["keep"].to_numpy(), column)
        if rows := listed(preferences.left_out):
            with (new / BAD_ROWS).open("xb") as file:
                file.writelines(map(json_line, rows))
        with whole_file(new / "scores.parquet") as file:
            pq.write_table(table, file)
        if languages is not None:
            write_json(new / "languages.json", languages)
        if advice is not None:
            write_json(new / ADVICE, advice)
        write_json(new / RUN.last, {**manifest, "versions": versions()})
