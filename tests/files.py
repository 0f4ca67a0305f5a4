"""Files that tests read."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def stored_dtypes(directory: Path) -> set[torch.dtype]:
    """Those that a saved model's weights have in its files, in whatever it may be loaded."""
    return {weight.dtype for path in directory.glob("*.safetensors") for weight in load_file(path).values()}
