"""A finished run's files, as the report needs them: arrays of all rows, and the texts of a few.

Shapes: N input rows, L languages, S rows whose texts are shown.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from congrad.errors import UserError
from congrad.files import without_nan
from congrad.stage import read_json

Array = npt.NDArray[Any]
SCORE_COLUMN = "congrad_score"


@dataclass(frozen=True)
class Run:
    """What a run's files say.

    Attributes:
        directory: as the user named it.
        manifest: of the run.
        languages: names of the L languages.
        num_pairs_L: scored pairs of each language.
        cosine_LL, low_LL, high_LL: cosines of the language gradients with the ends of their 95% intervals.
        corrected_LL, after_surgery_LL: without the noise, and after surgery. NaN where there is nothing to say.
        row_N: number of the row in the input.
        language_N: position in `languages`.
        prompt_N: the same number for the rows of one prompt.
        score_N: float32, NaN where there is none.
        keep_N: whether the row is kept.
        reason_N: why it is kept or dropped.
        chosen_N, rejected_N: tokens of the responses.
        cosine_NL: float32, with every language's gradient.
    """

    directory: Path
    manifest: dict[str, Any]
    languages: list[str]
    num_pairs_L: Array
    cosine_LL: Array
    low_LL: Array
    high_LL: Array
    corrected_LL: Array
    after_surgery_LL: Array
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


def read_run(directory: Path) -> Run:
    """Reads a run but for its texts.

    Raises:
        UserError: the run is unfinished, or its files are damaged.
    """
    if not (directory / "manifest.json").is_file():
        raise UserError(f"{directory} is no finished run: give the command that made it once more, then its report")
    manifest, content = read_json(directory / "manifest.json"), read_json(directory / "languages.json")
    path = directory / "scores.parquet"
    try:
        table = pq.read_table(path)
        return _run(directory, manifest, content, table)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        told = " ".join(str(error).split())
        raise UserError(f"{path} or languages.json cannot be read ({told}); filter {directory} once more") from error


def _run(directory: Path, manifest: dict[str, Any], content: dict[str, Any], table: pa.Table) -> Run:
    languages: list[str] = content["languages"]
    num_languages = len(languages)

    def matrix(name: str, *shape: int) -> Array:
        """Null becomes NaN."""
        return np.array(content[name], dtype=float).reshape(num_languages, num_languages, *shape)

    def codes(column: str) -> tuple[Array, list[str]]:
        encoded = table[column].combine_chunks().dictionary_encode()
        return encoded.indices.to_numpy(), encoded.dictionary.to_pylist()

    def numbers(column: str) -> Array:
        return np.asarray(table[column].to_numpy())  # null is NaN

    code_N, names = codes("language")
    position = {name: number for number, name in enumerate(languages)}
    reason_code_N, reasons = codes("reason")
    interval_LL2 = matrix("cosine_interval", 2)
    cosines = [numbers(f"cosine_{name}") for name in languages]
    return Run(
        directory=directory,
        manifest=manifest,
        languages=languages,
        num_pairs_L=np.array(content["num_pairs"]),
        cosine_LL=matrix("cosine"),
        low_LL=interval_LL2[..., 0],
        high_LL=interval_LL2[..., 1],
        corrected_LL=matrix("cosine_corrected"),
        after_surgery_LL=matrix("cosine_after_surgery"),
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


def read_rows(run: Run, positions: Sequence[int]) -> list[dict[str, Any]]:
    """The rows of kept.jsonl and dropped.jsonl at positions in the input order, which are the only lines parsed.

    Raises:
        UserError: the files do not belong to scores.parquet.
    """
    rank_N = np.where(run.keep_N, np.cumsum(run.keep_N), np.cumsum(~run.keep_N)) - 1
    found: dict[int, dict[str, Any]] = {}
    for name, kept in (("kept.jsonl", True), ("dropped.jsonl", False)):
        wanted = {int(rank_N[position]): int(position) for position in positions if run.keep_N[position] == kept}
        path = run.directory / name
        for number, row in _lines(path, wanted):
            score = np.float32(np.nan if row.get(SCORE_COLUMN) is None else row[SCORE_COLUMN])
            if not np.array_equal(score, run.score_N[wanted[number]], equal_nan=True):
                raise UserError(f"{path}:{number + 1}: not the row of scores.parquet; filter {run.directory} once more")
            found[wanted[number]] = row
    if len(found) < len(positions):
        raise UserError(f"{run.directory}: kept.jsonl or dropped.jsonl lacks rows; filter it once more")
    return [found[int(position)] for position in positions]


def _lines(path: Path, wanted: dict[int, int]) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file):
                if number in wanted:
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError("no JSON object")
                    yield number, without_nan(row)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); filter {path.parent} once more") from error
