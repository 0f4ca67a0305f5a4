"""Finished runs of a filter, made by hand: what an export reads of one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from congrad.files import json_line

MakeRun = Callable[..., Path]
NESTED = {"columns": {"language": "lang"}, "bounds": {"depth": 100}}


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """A run directory that kept the rows given."""

    def make(
        rows: list[dict[str, Any]],
        *,
        chat: bool = False,
        loss: dict[str, Any] | None = None,
        model: str = "org/model",
        max_length: int = 256,
        directory: str = "run",
        **models: Any,
    ) -> Path:
        run = tmp_path / directory
        run.mkdir()
        with (run / "kept.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json_line(row).decode() for row in rows)
        (run / "dropped.jsonl").write_bytes((run / "kept.jsonl").read_bytes())
        manifest = {
            "congrad": 1,
            "config": {
                "input": {"source": "/home/someone/secret/pairs.jsonl", "chat": chat, "max_length": max_length}
                | NESTED,
                "model": {"name": model, "device": "auto"} | models,
                "loss": {"name": "dpo", "beta": 0.2} | (loss or {}),
            },
            "command": ["/home/someone/bin/congrad", "filter"],
            "data_fingerprint": "abc",
            "rows": 2 * len(rows),
            "kept": len(rows),
            "fidelity": {"estimated_spearman": 0.93},
            "warnings": [],
            "versions": {"python": "3.11.7"},
        }
        (run / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        languages = ["de", "<b>|x"]
        content = {
            "languages": languages,
            "num_pairs": [30, 30],
            "cosine": [[1.0, -0.31], [-0.31, 1.0]],
            "cosine_interval": [[[1.0, 1.0], [-0.42, -0.2]], [[-0.42, -0.2], [1.0, 1.0]]],
            "cosine_corrected": [[1.0, None], [None, 1.0]],
            "cosine_after_surgery": [[1.0, 0.0], [0.0, 1.0]],
            "consensus_weights": [0.5, 0.5],
        }
        (run / "languages.json").write_text(json.dumps(content), encoding="utf-8")
        scores = {"language": ["de", "de", "<b>|x"], "keep": [True, False, True]}
        pq.write_table(pa.table(scores), run / "scores.parquet")
        return run

    return make
