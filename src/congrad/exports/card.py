"""README.md of an export, which is its dataset card on a hub: what was kept of which data, how, and what to trust.

Only what may be shown to others goes in: names instead of paths, and no command line. Names come from a dataset and are
escaped.
"""

import re
from pathlib import PurePath
from typing import Any

import pyarrow.parquet as pq
import yaml

from congrad.exports.configs import COMMANDS
from congrad.exports.kept import KEPT, Run
from congrad.stage import read_json

LANGUAGE_CODE = re.compile(r"[a-z]{2,3}")  # ISO 639, which is what a hub takes
PAPER = "https://arxiv.org/abs/2503.23777"


def card(run: Run, format: str, *, licence: str | None = None) -> str:
    """The card's Markdown, a YAML header before it (https://huggingface.co/docs/hub/datasets-cards)."""
    counts = _counts(run)
    parts = [
        f"---\n{yaml.safe_dump(_header(counts, licence), sort_keys=False, allow_unicode=True)}---\n",
        "# Preference pairs, filtered with ConGrad\n",
        _summary(run, licence),
        f"## Train\n\n    {COMMANDS[format]}\n\nin this directory, with {format} installed.\n",
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
        f"{manifest.get('kept')} of {manifest.get('rows')} pairs of {_escape(data)}, chosen with the gradients of "
        f"{_escape(model)}.",
    ]
    fidelity = manifest.get("fidelity", {}).get("estimated_spearman")
    if fidelity is not None:
        lines.append(
            f"Fidelity: the compressed scores rank like those of uncompressed gradients with an estimated Spearman "
            f"correlation of {fidelity:.2f}."
        )
    lines += [f"Warning: {_escape(warning)}" for warning in manifest.get("warnings", [])]
    lines.append(
        f"Licence of the pairs: {_escape(licence)}."
        if licence
        else "The licence of the pairs is not stated here: it is that of the data they were taken from."
    )
    return "\n\n".join(lines) + "\n"


def _counts(run: Run) -> dict[str, tuple[int, int]]:
    """All and kept pairs of every language, by its name; nothing where the run has no scores."""
    path = run.directory / "scores.parquet"
    if not path.is_file():
        return {}
    counts: dict[str, tuple[int, int]] = {}
    table = pq.read_table(path, columns=["language", "keep"])
    for language, keep in zip(table["language"].to_pylist(), table["keep"].to_pylist(), strict=True):
        total, kept = counts.get(language, (0, 0))
        counts[language] = (total + 1, kept + bool(keep))
    return dict(sorted(counts.items()))


def _language_table(counts: dict[str, tuple[int, int]]) -> str:
    if not counts:
        return ""
    rows = [f"| {_escape(name)} | {total} | {kept} |" for name, (total, kept) in counts.items()]
    return "## Languages\n\n" + "\n".join(["| language | pairs | kept |", "|---|---|---|", *rows]) + "\n"


def _conflicts(run: Run) -> str:
    """Each language's lowest cosine with another, and whether its interval lies below zero."""
    path = run.directory / "languages.json"
    if not path.is_file():
        return ""
    found = read_json(path)
    names, cosine_LL, interval_LL2 = found["languages"], found["cosine"], found["cosine_interval"]
    rows = []
    for one, name in enumerate(names):
        others = [other for other in range(len(names)) if other != one and cosine_LL[one][other] is not None]
        if not others:
            continue
        other = min(others, key=lambda other: cosine_LL[one][other])
        low, high = interval_LL2[one][other] or (None, None)
        interval = "-" if low is None or high is None else f"{low:+.2f} to {high:+.2f}"
        clear = "yes" if high is not None and high < 0 else "no"
        rows.append(
            f"| {_escape(name)} | {_escape(names[other])} | {cosine_LL[one][other]:+.2f} | {interval} | {clear} |"
        )
    if not rows:
        return ""
    head = ["| language | most opposed | cosine | 95% interval | conflict clear of noise |", "|---|---|---|---|---|"]
    return "## Conflict between the languages\n\n" + "\n".join([*head, *rows]) + "\n"


def _settings(run: Run) -> str:
    """Every setting that is not a place on somebody's machine, and the versions."""
    rows = []
    for part, settings in run.settings.items():
        for name, value in settings.items() if isinstance(settings, dict) else ():
            if name != "device" and value is not None:
                # A path tells of its machine; a hub id holds one slash and is no absolute path.
                text = PurePath(value).name if isinstance(value, str) and _is_path(value) else str(value)
                rows.append(f"| {part}.{name} | {_escape(text)} |")
    rows.append(f"| data fingerprint | {_escape(run.manifest.get('data_fingerprint'))} |")
    rows += [f"| {_escape(name)} | {_escape(value)} |" for name, value in run.manifest.get("versions", {}).items()]
    return "## Settings\n\n" + "\n".join(["| setting | value |", "|---|---|", *rows]) + "\n"


def _is_path(value: str) -> bool:
    return value.startswith((".", "~")) or PurePath(value).is_absolute() or value.count("/") > 1


def _escape(value: object) -> str:
    """Text that Markdown and HTML leave as it is, on one line."""
    text = " ".join(str(value).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#!])", r"\\\1", text)
