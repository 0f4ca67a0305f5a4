"""Filtering a run anew: time and memory at 100,000 pairs of synthetic sketches of the default size.

    python -m bench.refilter --pairs 100000

A run directory is made as the pass would leave it: a dataset of real texts repeated, an index of random sketches (a
direction of their language and much noise), a manifest. Then `congrad filter RUN --keep 0.3` writes to a new directory.
Told are the wall clock of that command from its start to its end, of it what reading the rows and scoring took, and the
peak of its anonymous memory, which is what it holds; the index is read from files and stays in the page cache, which
the kernel takes back as it needs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from bench.workload import find_pairs
from congrad.files import write_json
from congrad.gradients.build import finish_index, make_plan, run_shards, write_pairs
from congrad.gradients.index import Shard, encode, shards_of
from congrad.models.packaged import resolve
from congrad.models.ranks import Rank
from congrad.preferences import TokenisedPairs, load_preferences
from congrad.settings.index import PassSettings
from congrad.settings.input import Input
from congrad.settings.model import Model
from congrad.settings.tree import FilterConfig

TARGET_SECONDS = 10.0
POLL_SECONDS = 0.05


def write_dataset(path: Path, num_pairs: int) -> None:
    """Real rows, repeated; every prompt gets a number, so that no two rows are the same."""
    lines = [line for file in sorted(find_pairs().glob("*.jsonl")) for line in file.read_text("utf-8").splitlines()]
    with path.open("w", encoding="utf-8") as file:
        for number, line in enumerate(islice(cycle(lines), num_pairs)):
            row = json.loads(line)
            row["prompt"] = f"{number}. {row['prompt']}"
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def synthetic_pairs(languages: list[str]) -> TokenisedPairs:
    """Rows with one distinct prompt token each and answers of two."""
    rows = list(range(len(languages)))
    prompts = [np.array([row], dtype=np.int32) for row in rows]
    chosen, rejected = ([np.array([1, side], dtype=np.int32)] * len(rows) for side in (2, 3))
    return TokenisedPairs(rows, languages, prompts, chosen, rejected, [""] * len(rows))


def write_index(directory: Path, pairs: TokenisedPairs, model: str) -> dict[str, object]:
    """An index of random sketches with the plan that the pass would make for `model`; returns the plan."""
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model), dtype=torch.bfloat16)
    plan = make_plan(pairs, skeleton, PassSettings(), model_fingerprint="synthetic", reference=None)
    directory.mkdir(parents=True)
    write_pairs(directory / "pairs.parquet", pairs)
    write_json(directory / "plan.json", plan)
    generator = torch.Generator().manual_seed(0)
    names, code_P = np.unique(pairs.languages, return_inverse=True)
    direction_LD = 0.1 * torch.randn(len(names), plan["dims"], generator=generator)
    noise_SD = torch.randn(plan["shard_pairs"], plan["dims"], generator=generator)

    def work(shard: Shard) -> dict[str, torch.Tensor]:
        # Drawing 3e9 normal numbers would take minutes: shards share the noise, turned by another offset each.
        rows = slice(shard.start, shard.stop)
        noise = noise_SD.roll(7919 * shard.number, dims=1)[: shard.stop - shard.start]
        unit, scales = encode(noise + direction_LD[code_P[rows]])
        return {"logps": torch.randn(len(scales), 2, generator=generator), "sketches": unit, "scales": scales}

    shards = shards_of(plan)
    run_shards(shards, "sketches", directory, Rank(), work)
    finish_index(directory, shards, seconds=0.0, has_reference=False)
    return plan


def make_run(run: Path, num_pairs: int, model: str) -> dict[str, object]:
    """A finished run that has everything but results; returns its plan."""
    run.parent.mkdir(parents=True, exist_ok=True)
    dataset = run.parent / "pairs.jsonl"
    write_dataset(dataset, num_pairs)
    preferences = load_preferences(dataset)
    plan = write_index(run / "index", synthetic_pairs(preferences.languages), model)
    config = FilterConfig(Input(str(dataset)), Model(model), index=PassSettings())
    manifest = {
        "congrad": "synthetic",
        "config": asdict(config),
        "index": "index",
        "data_fingerprint": preferences.fingerprint,
    }
    (run / "kept.jsonl").touch()
    write_json(run / "manifest.json", manifest)
    return plan


def status_fields(pid: int) -> dict[str, int]:
    """Bytes of the memory fields of a process; empty when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}


def watch(process: subprocess.Popen[bytes]) -> Iterator[dict[str, int]]:
    while process.poll() is None:
        yield status_fields(process.pid)
        time.sleep(POLL_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--model", default="gemma3-270m", help="whose layers the sketches are of")
    parser.add_argument("--directory", type=Path, help="for the synthetic run (7 GB at 100,000 pairs); kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = (options.directory or Path(scratch)) / "run"
        if not (run / "manifest.json").exists():
            make_run(run, options.pairs, resolve(options.model))
        index_bytes = sum(path.stat().st_size for path in (run / "index").iterdir())
        again = Path(scratch) / "again"
        command = [sys.executable, "-m", "congrad", "filter", str(run)]
        command += ["--keep", "0.3", "--output", str(again), "--quiet"]
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            seen = list(watch(process))
        seconds = time.perf_counter() - started
        assert process.returncode == 0, "re-filtering failed"
        parts = json.loads((again / "manifest.json").read_text(encoding="utf-8"))["seconds"]
    peak = max(fields.get("RssAnon", 0) for fields in seen)
    resident = max(fields.get("VmHWM", 0) for fields in seen)
    verdict = "met" if seconds <= TARGET_SECONDS else "NOT met"
    told = (
        f"re-filtering {options.pairs:,} pairs: {seconds:.1f} s ({parts}), target {TARGET_SECONDS:.0f} s: {verdict}; "
        f"anonymous memory {peak / 1e9:.2f} GB, index {index_bytes / 1e9:.2f} GB"
    )
    result = {
        "pairs": options.pairs,
        "seconds": seconds,
        "parts": parts,
        "anonymous_peak_bytes": peak,
        "resident_peak_bytes": resident,
        "index_bytes": index_bytes,
        "told": told,
    }
    print(told)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
