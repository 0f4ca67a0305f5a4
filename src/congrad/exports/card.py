"""README.md of an export, which is its dataset card on a hub: what was kept of which data, how, and what to trust.

Only what may be shown to others goes in: names instead of paths, and no command line. Names come from a dataset and are
escaped.
"""

import re
from collections.abc import Sequence
from operator import itemgetter
from pathlib import PurePath
from typing import Any

import numpy as np
import yaml

from congrad.exports.configs import COMMANDS
from congrad.filtering.comparison import conflicts_in_words, language_pairs, most_opposed, verdicts_in_words
from congrad.filtering.finished import KEPT, SCORES, SCORES_FILE, Run, read_scores
from congrad.settings.section import flatten
from congrad.tables import Cell, Column, Number, Table, columns, escape, to_markdown

LANGUAGE_CODE = re.compile(r"[a-z]{2,3}")  # ISO 639, which is what a hub takes
LONGEST = 500  # characters of a warning or a setting
CONFLICT_TITLES = ("language", "most opposed", "cosine", "95% interval", "verdict")
PAPER = "https://arxiv.org/abs/2503.23777"


def card(run: Run, format: str, *, licence: str | None = None, checked: Sequence[str] = ()) -> str:
    """The card's Markdown, a YAML header before it (https://huggingface.co/docs/hub/datasets-cards).

    Args:
        checked: what was compared with what was scored, and what is left out.
    """
    counts = _counts(run)
    parts = [
        f"---\n{yaml.safe_dump(_header(counts, licence), sort_keys=False, allow_unicode=True)}---\n",
        "# Preference pairs, filtered with ConGrad\n",
        _summary(run, licence),
        f"## Train\n\n    {COMMANDS[format]}\n\nin this directory, with {format} installed.\n",
        _checked(checked),
        _language_table(counts),
        _conflicts(run),
        _settings(run),
        "## Method\n\nConflicting gradient filtering: pairs are kept whose gradient points where the gradients of the "
        f"languages agree after gradient surgery ([Li et al., EACL 2026]({PAPER})).\n",
    ]
    return "\n".join(part for part in parts if part)


def _header(counts: dict[str, tuple[int, int]], licence: str | None) -> dict[str, Any]:
    languages = [name for name in counts if LANGUAGE_CODE.fullmatch(name)]
    return {
        **({"license": licence} if licence else {}),
        **({"language": languages} if languages else {}),
        "task_categories": ["text-generation"],
        "tags": ["preference", "dpo", "congrad"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": KEPT}]}],
    }


def _summary(run: Run, licence: str | None) -> str:
    manifest, settings = run.manifest, run.settings
    data = PurePath(str(settings.get("input", {}).get("source", "its data"))).name
    model = PurePath(str(settings.get("model", {}).get("name", "a model"))).name
    lines = [
        f"{escape(str(manifest.get('kept')))} of {escape(str(manifest.get('rows')))} pairs of {escape(data)}, chosen "
        f"with the gradients of {escape(model)}."
    ]
    fidelity = manifest.get("fidelity", {}).get("estimated_spearman")
    if fidelity is not None:
        lines.append(
            "Fidelity, of the compression alone: the compressed scores rank like those of uncompressed gradients with "
            f"an estimated Spearman correlation of {fidelity:.2f}."
        )
    lines += [f"Warning: {escape(str(warning), LONGEST)}" for warning in manifest.get("warnings", [])]
    lines.append(
        f"Licence of the pairs: {escape(licence, width=None)}."
        if licence
        else "The licence of the pairs is not stated here: it is that of the data they were taken from."
    )
    return "\n\n".join(lines) + "\n"


def _checked(lines: Sequence[str]) -> str:
    said = "".join(f"- {escape(line, LONGEST)}\n" for line in lines)
    return f"## Checked\n\n{said}" if said else ""


def _counts(run: Run) -> dict[str, tuple[int, int]]:
    """All and kept pairs of every language, by its name; nothing where the run has no scores."""
    if not (run.directory / SCORES_FILE).exists():
        return {}
    counted = read_scores(run.directory, {name: SCORES[name] for name in ("language", "keep")}).group_by("language")
    rows = counted.aggregate([([], "count_all"), ("keep", "sum")]).to_pylist()
    return {row["language"]: (row["count_all"], row["keep_sum"]) for row in sorted(rows, key=itemgetter("language"))}


def _language_table(counts: dict[str, tuple[int, int]]) -> str:
    if not counts:
        return ""
    rows: list[list[Cell]] = [[name, Number(total, "d"), Number(kept, "d")] for name, (total, kept) in counts.items()]
    return f"## Languages\n\n{to_markdown(Table(columns('language', 'pairs', 'kept'), rows))}"


def _conflicts(run: Run) -> str:
    """Each language's lowest cosine with another, whether they conflict, and all that conflict."""
    compared = run.comparison
    if compared is None:
        return ""
    pairs = language_pairs(compared)
    rows: list[list[Cell]] = []
    for name in compared.languages:
        if opposed := most_opposed(name, pairs):
            other, pair = opposed
            interval = None if np.isnan(pair.low) else f"{pair.low:+.2f} to {pair.high:+.2f}"
            rows.append([name, other, Number(pair.cosine, "+.2f"), interval, pair.verdict])
    if not rows:
        return ""
    titles = [Column(title, right=title == "cosine") for title in CONFLICT_TITLES]
    parts = [f"## Conflict between the languages\n\n{to_markdown(Table(titles, rows))}"]
    if conflicts := conflicts_in_words(pairs):
        parts.append(f"Language pairs that conflict: {escape(conflicts, width=None)}.\n")
    parts.append(f"{verdicts_in_words(pairs).capitalize()}.\n")
    return "\n".join(parts)


def _settings(run: Run) -> str:
    """Every setting that is not a path on a machine, and the versions."""
    rows: list[list[Cell]] = []
    for key, value in flatten(run.settings):
        if not key.endswith(".device") and value is not None:
            text = PurePath(value).name if isinstance(value, str) and _is_path(value) else str(value)
            rows.append([key, text])
    rows.append(["data fingerprint", str(run.manifest.get("data_fingerprint"))])
    rows += [[name, str(value)] for name, value in run.manifest.get("versions", {}).items()]
    table = Table([Column("setting", right=False), Column("value", right=False)], rows)
    return f"## Settings\n\n{to_markdown(table, LONGEST)}"


def _is_path(value: str) -> bool:
    """Whether it would show its machine; a hub id holds one slash and is not an absolute path."""
    return value.startswith((".", "~")) or PurePath(value).is_absolute() or value.count("/") > 1
