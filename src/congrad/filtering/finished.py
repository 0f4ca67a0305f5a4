"""A finished run's directory, read: its manifest, what its files say of every row, and the texts of a few rows.

Shapes: N input rows, L languages.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from congrad.errors import UserError
from congrad.files import without_nan
from congrad.filtering.comparison import Array, Comparison, read_comparison
from congrad.filtering.directory import RUN, SCORE_COLUMN, is_run
from congrad.settings.index import PassSettings
from congrad.settings.input import Columns, Input
from congrad.settings.model import Model
from congrad.settings.tree import FilterConfig
from congrad.stage import read_json

KEPT = "kept.jsonl"


@dataclass(frozen=True)
class Run:
    """A finished run of the filter, ConGrad's or another."""

    directory: Path
    manifest: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """The resolved configuration, by part; nothing where the filter was another."""
        settings: dict[str, Any] = self.manifest.get("config", {})
        return settings

    @property
    def comparison(self) -> Comparison | None:
        """What languages.json says; None where the filter was another."""
        path = self.directory / "languages.json"
        if not path.is_file():
            return None
        try:
            return read_comparison(read_json(path))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({error})", f"filter {self.directory} again") from error


@dataclass(frozen=True)
class ScoredRun(Run):
    """What the files of a run of ConGrad's say.

    Attributes:
        compared: the languages.
        row_N: number of the row in the input.
        language_N: position in `languages`.
        prompt_N: the same number for the rows of one prompt.
        score_N: float32, NaN where there is none.
        keep_N: whether the row is kept.
        reason_N: why it is kept or dropped.
        chosen_N, rejected_N: tokens of the responses.
        cosine_NL: float32, with every language's gradient.
    """

    compared: Comparison
    row_N: Array
    language_N: Array
    prompt_N: Array
    score_N: Array
    keep_N: Array
    reason_N: Array
    chosen_N: Array
    rejected_N: Array
    cosine_NL: Array

    def __len__(self) -> int:
        return len(self.row_N)

    @property
    def languages(self) -> list[str]:
        return self.compared.languages


def open_run(directory: Path) -> Run:
    """The run; a `UserError` where this is not a finished one."""
    if not (directory / "manifest.json").is_file():
        if is_run(directory):
            raise UserError(f"{directory} is an unfinished run", "run the command that began it again")
        raise UserError(f"{directory} is not a run of congrad", "name the directory of a finished run")
    manifest = read_json(directory / "manifest.json")
    if "congrad" not in manifest or not (directory / KEPT).is_file():
        raise UserError(f"{directory} is not a run of congrad filter", f"name the directory that holds its {KEPT}")
    return Run(directory, manifest)


def stored_config(run: Path) -> tuple[FilterConfig, Path, dict[str, Any]]:
    """The configuration of a finished run, the place of its index, and its whole manifest."""
    manifest = open_run(run).manifest
    try:
        stored = manifest["config"]
        config = FilterConfig(read_input(stored["input"]), Model(**stored["model"]), PassSettings(**stored["index"]))
        index_path = Path(manifest["index"])
    except (UserError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{run / RUN.last} is damaged ({error})", "filter the data again with --model") from error
    return config, index_path if index_path.is_absolute() else run / index_path, manifest


def read_input(stored: dict[str, Any]) -> Input:
    """The section `input` of a manifest; before 0.2 the language column was one of the other keys."""
    stored = dict(stored)
    column = stored.pop("language_column", None)
    return Input(**stored) if column is None else Input(**stored, columns=Columns(column))


def read_run(directory: Path) -> ScoredRun:
    """Reads a run of ConGrad's but for its texts."""
    run = open_run(directory)
    path = directory / "scores.parquet"
    try:
        compared = read_comparison(read_json(directory / "languages.json"))
        return _scored(run, compared, pq.read_table(path))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} or languages.json cannot be read ({reason})", f"filter {directory} again") from error


def _scored(run: Run, compared: Comparison, table: pa.Table) -> ScoredRun:
    def codes(column: str) -> tuple[Array, list[str]]:
        encoded = table[column].combine_chunks().dictionary_encode()
        return encoded.indices.to_numpy(), encoded.dictionary.to_pylist()

    def numbers(column: str) -> Array:
        return np.asarray(table[column].to_numpy())  # null is NaN

    code_N, names = codes("language")
    position = {name: number for number, name in enumerate(compared.languages)}
    reason_code_N, reasons = codes("reason")
    cosines = [numbers(f"cosine_{name}") for name in compared.languages]
    return ScoredRun(
        directory=run.directory,
        manifest=run.manifest,
        compared=compared,
        row_N=numbers("row"),
        language_N=np.array([position[name] for name in names], dtype=np.int64)[code_N],
        prompt_N=numbers("group"),
        score_N=numbers("score").astype(np.float32),
        keep_N=numbers("keep").astype(bool),
        reason_N=np.array(reasons, dtype=object)[reason_code_N],
        chosen_N=numbers("chosen_tokens"),
        rejected_N=numbers("rejected_tokens"),
        cosine_NL=np.stack(cosines, axis=1).astype(np.float32),
    )


def rows_at(run: ScoredRun, positions: Sequence[int]) -> list[dict[str, Any]]:
    """The rows of kept.jsonl and dropped.jsonl at positions in the input order, which are the only lines parsed."""
    rank_N = np.where(run.keep_N, np.cumsum(run.keep_N), np.cumsum(~run.keep_N)) - 1
    found: dict[int, dict[str, Any]] = {}
    for name, kept in (("kept.jsonl", True), ("dropped.jsonl", False)):
        wanted = {int(rank_N[position]): int(position) for position in positions if run.keep_N[position] == kept}
        path = run.directory / name
        for number, row in _lines(path, wanted):
            score = np.float32(np.nan if row.get(SCORE_COLUMN) is None else row[SCORE_COLUMN])
            if not np.array_equal(score, run.score_N[wanted[number]], equal_nan=True):
                problem, fix = "does not match its row of scores.parquet", f"filter {run.directory} again"
                raise UserError(problem, fix, at=f"{path}:{number + 1}")
            found[wanted[number]] = row
    if len(found) < len(positions):
        raise UserError("kept.jsonl and dropped.jsonl do not hold all rows", "filter it again", at=run.directory)
    return [found[int(position)] for position in positions]


def _lines(path: Path, wanted: dict[int, int]) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file):
                if number in wanted:
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError("not a JSON object")
                    yield number, without_nan(row)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error})", f"filter {path.parent} again") from error
