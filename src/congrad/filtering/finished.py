"""A finished run's directory, read: its manifest, what its files say of every row, and the texts of a few rows.

Shapes: N input rows, L languages.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, get_args, get_origin

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, create_model

from congrad.errors import UserError
from congrad.files import without_nan
from congrad.filtering.advised import read_advice
from congrad.filtering.comparison import FILTER_AGAIN, Array, Comparison, LanguagesFile, read_comparison
from congrad.filtering.directory import RUN, SCORE_COLUMN, is_run
from congrad.preferences.render import is_pair
from congrad.settings.advice import Advice
from congrad.settings.index import PassSettings
from congrad.settings.input import Input
from congrad.settings.model import Model
from congrad.settings.section import LEAVES, fields_of, is_section, type_of
from congrad.settings.selection import Selection
from congrad.settings.tree import FilterConfig
from congrad.stage import Amount, Record, check_record, damaged, read_json, read_rows
from congrad.words import one_line, quote

T = TypeVar("T")
KEPT, DROPPED, SCORES_FILE = "kept.jsonl", "dropped.jsonl", "scores.parquet"
REFILTERED = ("config.input", "config.model", "config.index", "index", "data_fingerprint")
"""What a re-filter reads of a manifest."""
SHOWN = (
    *("command", "data_fingerprint", "plan.model", "plan.reference", "rows", "kept", "seconds", "peak_memory_bytes"),
    *("fidelity.pairs", "fidelity.half_size_spearman", "fidelity.estimated_spearman", "warnings", "versions"),
    *("config.input.source", "config.input.seed", "config.model.name", "config.index.seed", "config.loss"),
    *("config.consensus.aggregator", "config.consensus.seed"),
    *("config.selection.keep", "config.selection.min_score", "config.selection.scope"),
)
"""What a page shows of it."""
SCORES = {
    **dict.fromkeys(("row", "group", "chosen_tokens", "rejected_tokens"), pa.int64()),
    **dict.fromkeys(("language", "reason"), pa.string()),
    "keep": pa.bool_(),
    "score": pa.float32(),
}
"""Columns of scores.parquet that are read; only what is no whole number, text or bool may be null."""
LEAST = len(b"{}\n")  # bytes of a row of kept.jsonl or dropped.jsonl


class Stored(Record):
    fix = FILTER_AGAIN


def _as_stored(kind: Any) -> type[Record]:
    """A section as a run may have stored it: every key that is there has its type and bounds. Rules between keys are
    for those who set them: an earlier version had others."""
    hints = {name: type_of(kind, (name,)) for name in fields_of(kind)}
    fields: Any = {
        name: (_as_stored(hint) if is_section(hint) else _in_json(hint), None) for name, hint in hints.items()
    }
    made: type[Record] = create_model(kind.__name__, __base__=Stored, **fields)
    return made


def _in_json(hint: Any) -> Any:
    """The type of a setting as JSON has it: a tuple is a list there."""
    if get_origin(hint) is tuple:
        return list[get_args(hint)[0]]  # type: ignore[misc]
    if get_origin(hint) is UnionType:
        return reduce(or_, map(_in_json, get_args(hint)))
    return hint


STORED = _as_stored(FilterConfig)


class Fidelity(Record):
    pairs: Amount = 0
    half_size_spearman: float | None = None
    estimated_spearman: float | None = None


class Stability(Record):
    pairs: Amount = 0
    half_spearman: float | None = None
    estimated_spearman: float | None = None
    kept_by_both: float | None = None
    kept_by_chance: float | None = None


class Identities(Record):
    model: str = ""
    reference: str | None = None


class Manifest(Stored):
    """manifest.json of a filter, ConGrad's or another, as far as it is there; `config` is ConGrad's (`STORED`)."""

    config: dict[str, dict[str, Any]] = Field({})
    command: list[str] = Field([])
    index: str = ""
    watch: str = ""
    plan: Identities = Identities()
    data_fingerprint: str = ""
    rows: Amount = 0
    kept: Amount = 0
    seconds: dict[str, Annotated[float, Field(ge=0, le=1e12)]] = Field({})
    peak_memory_bytes: Amount = 0
    fidelity: Fidelity = Fidelity()
    stability: Stability = Stability()
    warnings: list[str] = Field([])
    versions: dict[str, str] = Field({})


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
        return read_comparison(read_json(path, LanguagesFile)) if path.is_file() else None

    @property
    def advice(self) -> dict[str, Any] | None:
        """What advice.json says; None where the filter was another, or older."""
        return read_advice(self.directory)


@dataclass(frozen=True)
class ScoredRun(Run):
    """What the files of a run of ConGrad's say.

    Attributes:
        compared: the languages.
        row_N: number of the row in the input.
        language_N: position in `languages`.
        prompt_N: the same number for the rows of one prompt in one language.
        shared_N: the same number for the rows of one prompt, in whatever language.
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
    shared_N: Array
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
    path = directory / RUN.last
    manifest = read_json(path)
    if "congrad" not in manifest or not (directory / KEPT).is_file():
        raise UserError(f"{directory} is not a run of congrad filter", f"name the directory that holds its {KEPT}")
    check_record(path, manifest, Manifest)
    if "config" in manifest:
        config = manifest["config"]
        check_record(path, config, STORED)
        known = STORED.model_validate(config).model_dump(exclude_unset=True)
        manifest["config"] = {part: _plain(config[part], known.get(part, {})) for part in config}
    return Run(directory, manifest)


def _plain(stored: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """A section as a run stored it; of keys that this version does not know, those that hold a single value."""
    return {
        key: known.get(key, value)
        for key, value in stored.items()
        if key in known or value is None or isinstance(value, LEAVES)
    }


def stored_section(kind: type[T], run: Run) -> T:
    """A section of a run's configuration, whole, from the keys that this version knows. Before 0.2 the language column
    was one of the keys of `input`."""
    _require(run, [f"config.{kind.section_name}"])  # type: ignore[attr-defined]
    stored = run.settings[kind.section_name]  # type: ignore[attr-defined]
    values = {key: value for key, value in stored.items() if key in fields_of(kind)}
    if kind is Input and "language_column" in stored:
        values["columns"] = {"language": stored["language_column"]}
    try:
        return kind(**values)
    except UserError as error:
        raise damaged(run.directory / RUN.last, f"config.{error}", FILTER_AGAIN) from error


def _require(run: Run, keys: Sequence[str]) -> None:
    """Refuses a manifest that lacks one of the keys."""
    for key in keys:
        inner: Any = run.manifest
        for name in key.split("."):
            if not isinstance(inner, dict) or name not in inner:
                raise damaged(run.directory / RUN.last, f"{key} is missing", FILTER_AGAIN)
            inner = inner[name]


def stored_config(run: Path) -> tuple[FilterConfig, Path, dict[str, Any]]:
    """The configuration of a finished run, the place of its index, and its whole manifest."""
    opened = open_run(run)
    _require(opened, REFILTERED)
    sections = stored_section(Input, opened), stored_section(Model, opened), stored_section(PassSettings, opened)
    advice = Advice(watch=opened.settings.get("advice", {}).get("watch") or None)
    return FilterConfig(*sections, advice=advice), place_of(run, opened.manifest["index"]), opened.manifest


def watch_place(run: Path, manifest: Mapping[str, Any]) -> Path | None:
    """Where the index of the watched pairs of a run is; None where it watches none."""
    return place_of(run, manifest["watch"]) if manifest.get("watch") else None


def place_of(run: Path, named: str) -> Path:
    """A directory as a manifest names it."""
    try:
        (run / named).resolve()
    except (OSError, ValueError) as error:
        raise damaged(run / RUN.last, f"{quote(named)} is no path", FILTER_AGAIN) from error
    return run / named


def read_run(directory: Path) -> ScoredRun:
    """Reads a run of ConGrad's but for its texts."""
    run = open_run(directory)
    _require(run, SHOWN)
    stored_section(Selection, run)  # a share or a least score
    compared = read_comparison(read_json(directory / "languages.json", LanguagesFile))
    kinds = SCORES | {f"cosine_{name}": pa.float32() for name in compared.languages}
    if run.manifest.get("shared_prompts"):
        kinds |= {"prompt": pa.int64()}
    try:
        scored = _scored(run, compared, read_scores(directory, kinds))
    except KeyError as error:
        raise _unreadable(directory, error) from error
    if (run.manifest["rows"], run.manifest["kept"]) != (len(scored), int(scored.keep_N.sum())):
        raise damaged(directory / RUN.last, "rows and kept are not those of scores.parquet", FILTER_AGAIN)
    return scored


def read_scores(directory: Path, kinds: Mapping[str, pa.DataType]) -> pa.Table:
    """Columns of scores.parquet in these types, after a look at how many rows it claims."""
    path, schema = directory / SCORES_FILE, pa.schema(kinds)
    try:
        for each in (path, directory / KEPT, directory / DROPPED):
            if not each.is_file():
                raise FileNotFoundError(f"{each.name} is not a file")
        most = sum((directory / name).stat().st_size for name in (KEPT, DROPPED)) // LEAST
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows > most:
                raise ValueError(f"{file.metadata.num_rows} rows, more than {KEPT} and {DROPPED} have room for")
            table = file.read().select(schema.names).cast(schema)
        for name, kind in kinds.items():
            if kind != pa.float32() and table[name].null_count:
                raise ValueError(f"column {name!r} holds null")
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise _unreadable(directory, error) from error
    return table


def _unreadable(directory: Path, error: Exception) -> UserError:
    problem = f"{directory / SCORES_FILE} or languages.json cannot be read ({one_line(error)})"
    return UserError(problem, f"filter {directory} again")


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
        shared_N=numbers("prompt" if "prompt" in table.column_names else "group"),
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
    for name, kept in ((KEPT, True), (DROPPED, False)):
        wanted = {int(rank_N[position]): int(position) for position in positions if run.keep_N[position] == kept}
        path = run.directory / name
        for number, row in _lines(path, wanted):
            _check_row(run, f"{path}:{number + 1}", row, wanted[number])
            found[wanted[number]] = row
    if len(found) < len(positions):
        raise _not_all_rows(run)
    return [found[int(position)] for position in positions]


def rows_in_order(run: ScoredRun, *, kept_only: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    """The kept rows, or all, in the order of the input, each after its position there."""
    files = {name: enumerate(read_rows(run.directory / name), 1) for name in (KEPT, DROPPED)[: 1 if kept_only else 2]}
    for position in np.flatnonzero(run.keep_N | (not kept_only)).tolist():
        name = KEPT if run.keep_N[position] else DROPPED
        number, row = next(files[name], (0, None))
        if row is None:
            raise _not_all_rows(run)
        _check_row(run, f"{run.directory / name}:{number}", row, position)
        yield position, row
    if any(next(rest, None) for rest in files.values()):
        raise _not_all_rows(run)


def _check_row(run: ScoredRun, place: str, row: dict[str, Any], position: int) -> None:
    """Refuses a row that is no pair, or has another score than scores.parquet at its position."""
    score = row.get(SCORE_COLUMN)
    value = np.float32(score if isinstance(score, int | float) else np.nan)
    if not is_pair(row) or not np.array_equal(value, run.score_N[position], equal_nan=True):
        raise UserError("does not match its row of scores.parquet", f"filter {run.directory} again", at=place)


def _not_all_rows(run: Run) -> UserError:
    return UserError(f"{KEPT} and {DROPPED} do not hold all rows", "filter it again", at=run.directory)


def _lines(path: Path, wanted: dict[int, int]) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file):
                if number in wanted:
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError("not a JSON object")
                    yield number, without_nan(row)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error})", f"filter {path.parent} again") from error
