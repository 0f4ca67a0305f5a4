"""Runs that are made of numbers alone, as the filter would have written them."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from congrad.consensus.findings import AGREE, CANNOT_TELL, CONFLICT, MIN_PAIRS
from congrad.selection import reasons, select
from congrad.settings.consensus import Consensus, Loss
from congrad.settings.index import PassSettings
from congrad.settings.input import Input
from congrad.settings.model import Model
from congrad.settings.selection import Selection

LANGUAGES = ("ar", "de", "el", "en", "es", "fr", "he", "hi", "ja", "ko", "th", "tr", "zh")
TEXTS = {"ar": "ما الشهر الذي يأتي بعد شهر ديسمبر؟", "he": "מה בירת צרפת?", "ja": "フランスの首都は?"}


def make_run(
    directory: Path,
    *,
    languages: tuple[str, ...] = LANGUAGES,
    each: int = 50,
    selection: Selection | None = None,
    text: Callable[[int, str], dict[str, Any]] | None = None,
    seed: int = 0,
    conflict: tuple[int, int] | None = None,
    **manifest: Any,
) -> Path:
    """A run directory of `each` pairs in every language, with ties, rows without a score and shared prompts.

    Args:
        text: the columns of a row, by its number and language.
        conflict: two languages whose interval lies below zero.
        manifest: what else goes there, or instead of what is there.
    """
    selection = selection or Selection(keep=0.5)
    generator = np.random.default_rng(seed)
    num_rows, num_languages = each * len(languages), len(languages)
    code_N = np.arange(num_rows) % num_languages
    score_N = generator.normal(0.05, 0.1, num_rows).astype(np.float32).clip(-1, 1)
    score_N[: num_rows // 4] = np.round(score_N[: num_rows // 4], 1)  # equal scores
    unscored_N = [""] * num_rows
    for row in range(3, num_rows, 97):
        score_N[row], unscored_N[row] = np.nan, "the pair is empty"
    score = torch.from_numpy(score_N)
    keep_N = select(score, torch.from_numpy(code_N), **asdict(selection))
    reason_N = reasons(keep_N, unscored_N, min_score=selection.min_score)
    columns = {
        "row": pa.array(range(num_rows), pa.int64()),
        "language": pa.array([languages[code] for code in code_N]),
        "group": pa.array((np.arange(num_rows) // num_languages // 2) * num_languages + code_N),  # two pairs a prompt
        "score": pa.array(score_N, from_pandas=True),
        "keep": pa.array(keep_N.numpy()),
        "reason": pa.array(reason_N),
        "chosen_logp": pa.array(-score_N, from_pandas=True),
        "rejected_logp": pa.array(-score_N, from_pandas=True),
        "chosen_tokens": pa.array(generator.integers(1, 400, num_rows), pa.int32()),
        "rejected_tokens": pa.array(generator.integers(1, 400, num_rows), pa.int32()),
    }
    for name in languages:
        cosine_N = generator.normal(0, 0.1, num_rows).astype(np.float32)
        cosine_N[np.isnan(score_N)] = np.nan
        columns[f"cosine_{name}"] = pa.array(cosine_N, from_pandas=True)
    directory.mkdir(parents=True)
    pq.write_table(pa.table(columns), directory / "scores.parquet")

    def default(row: int, language: str) -> dict[str, Any]:
        prompt = f"{TEXTS.get(language, 'Question')} {row // num_languages // 2}"
        return {"id": f"{language}-{row}", "prompt": prompt, "chosen": f"yes {row}", "rejected": f"no {row}"}

    make = text or default
    with (directory / "kept.jsonl").open("wb") as kept, (directory / "dropped.jsonl").open("wb") as dropped:
        for row in range(num_rows):
            language = languages[code_N[row]]
            value = None if np.isnan(score_N[row]) else float(score_N[row])
            line = json.dumps(make(row, language) | {"language": language, "congrad_score": value}, ensure_ascii=False)
            (kept if keep_N[row] else dropped).write(line.encode("utf-8", "surrogatepass") + b"\n")

    near = generator.normal(0, 1, (num_languages, 6))
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    cosine_LL = 0.25 * near @ near.T + 0.75 * np.eye(num_languages)
    interval_LL2 = np.stack([cosine_LL - 0.3, cosine_LL + 0.3], axis=-1).clip(-1, 1)
    if conflict:
        for i, j in (conflict, conflict[::-1]):
            cosine_LL[i, j], interval_LL2[i, j] = -0.4, (-0.6, -0.2)
    corrected = cosine_LL.tolist()
    corrected[0] = [None] * num_languages  # no gradient that stands clear of its noise
    for row in corrected[1:]:
        row[0] = None
    content = {
        "languages": list(languages),
        "num_pairs": [int(((code_N == code) & ~np.isnan(score_N)).sum()) for code in range(num_languages)],
        "cosine": cosine_LL.tolist(),
        "cosine_interval": interval_LL2.tolist(),
        "cosine_corrected": corrected,
        "cosine_after_surgery": (cosine_LL.clip(0) * 0.9 + np.eye(num_languages) * 0.1).tolist(),
        "consensus_weights": [1 / num_languages] * num_languages,
    }

    def verdict(i: int, j: int) -> str:
        conflicts, agrees = interval_LL2[i, j, 1] < 0, cosine_LL[i, j] > 0.1
        return CANNOT_TELL if each < MIN_PAIRS else CONFLICT if conflicts else AGREE if agrees else CANNOT_TELL

    content |= {
        "cosine_corrected_interval": interval_LL2.tolist(),
        "cosine_smallest": np.full((num_languages, num_languages), 0.25).tolist(),
        "verdict": [[None if i == j else verdict(i, j) for j in range(num_languages)] for i in range(num_languages)],
        "conflict_min_pairs": MIN_PAIRS,
    }
    (directory / "languages.json").write_text(json.dumps(content))
    config = {
        "input": asdict(Input("pairs.jsonl")),
        "model": asdict(Model("tiny")),
        "index": asdict(PassSettings()),
        "loss": asdict(Loss()),
        "consensus": asdict(Consensus()),
        "selection": asdict(selection),
    }
    whole = {
        "congrad": 1,
        "config": config,
        "command": ["congrad", "filter", "pairs.jsonl", "--model", "tiny"],
        "index": "index",
        "plan": {"model": "a" * 64, "reference": None},
        "data_fingerprint": "b" * 64,
        "rows": num_rows,
        "kept": int(keep_N.sum()),
        "seconds": {"index": 61.5, "score": 0.5},
        "peak_memory_bytes": 2 * 10**9,
        "fidelity": {"pairs": num_rows, "half_size_spearman": 0.9, "estimated_spearman": 0.97},
        "stability": {
            "pairs": num_rows,
            "half_spearman": 0.5,
            "estimated_spearman": 0.82,
            "kept_by_both": 0.66,
            "kept_by_chance": 0.5,
        },
        "warnings": [],
        "versions": {"python": "3.11", "congrad": "0.1.0"},
    }
    (directory / "manifest.json").write_text(json.dumps(whole | manifest))
    return directory
