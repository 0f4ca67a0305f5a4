"""`make bench`: the gradient pass beside what else does the same work, as ratios of paired runs.

Every figure is the median over rounds of a ratio of two runs made one after the other, in turns of order, each in a
process of its own. Before the rounds every baseline is tried with several settings, and its fastest one competes.
A contender whose package is not installed is skipped, and the table says so.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.workload import REPOSITORY, WORKLOADS, build
from congrad.models.packaged import resolve

Result = dict[str, Any]
PACKAGES = {"trl_step": "trl", "bergson_build": "bergson"}
SHOWN = ("congrad", "torch", "transformers", "trl", "bergson")


@dataclass(frozen=True)
class Line:
    """One line of the table: a quantity of our pass over the same quantity of another contender.

    `target` is the ratio not to be exceeded, by dtype; empty for a line that only informs.
    """

    title: str
    other: str
    workload: str = "answers"
    quantity: str = "seconds_per_pair"
    ours: tuple[str, ...] = ()
    target: dict[str, float] = field(default_factory=dict)


def both(target: float) -> dict[str, float]:
    return {"float32": target, "bfloat16": target}


LINES = (
    Line("time, TRL step", "trl_step", target=both(0.45)),
    Line("memory beyond the weights, TRL step", "trl_step", quantity="beyond_weights_bytes", target=both(0.5)),
    Line("time, bergson", "bergson_build", target={"float32": 0.65, "bfloat16": 0.70}),
    Line("time, bergson, prompt is half", "bergson_build", workload="long-prompt", target=both(0.5)),
    Line("time, explicit autograd", "autograd", target=both(0.25)),
    Line("time, upper half over all blocks", "ours", ours=("--layers", "upper"), target=both(0.8)),
    Line("time, general pass over packed", "ours", ours=("--route", "general"), target=both(1.3)),
    Line("the same, prompt is half", "ours", workload="long-prompt", ours=("--route", "general"), target=both(1.8)),
    Line(
        "memory beyond the weights, the same",
        "ours",
        workload="long-prompt",
        ours=("--route", "general"),
        quantity="beyond_weights_bytes",
    ),
    Line("time, plain forward passes", "forward"),
    Line("time, floor", "floor"),
)


@dataclass(frozen=True)
class Case:
    """A model in a precision, its workloads on disk, and how the contenders are to be run."""

    model: str
    directory: str
    dtype: str
    workloads: dict[str, Path]
    threads: int

    def run(self, contender: str, workload: str, *options: str) -> Result | None:
        """One contender's result, or None where its package is not installed or it fails (the reason is printed)."""
        package = PACKAGES.get(contender)
        if package is not None and importlib.util.find_spec(package) is None:
            return None
        command = [sys.executable, "-m", f"bench.contenders.{contender}", "--model", self.directory]
        command += ["--dtype", self.dtype, "--workload", str(self.workloads[workload])]
        command += ["--threads", str(self.threads), *options]
        done = execute(command, self.threads)
        if done.returncode:
            print(f"{contender} {' '.join(options)} failed:\n{done.stderr[-2000:]}", file=sys.stderr)
            return None
        result: Result = json.loads(done.stdout.splitlines()[-1])
        told = f"  {self.model} {self.dtype} {workload:11s} {contender} {' '.join(options)}"
        print(f"{told:80s} {result['seconds_per_pair']:.3f} s a pair", file=sys.stderr, flush=True)
        return result | {"contender": contender, "workload": workload, "options": list(options)}


def execute(command: list[str], threads: int) -> subprocess.CompletedProcess[str]:
    """Run a program of the bench. Nothing is fetched, and no library starts more threads than are measured."""
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": str(threads)}
    return subprocess.run(command, cwd=REPOSITORY, env=os.environ | quiet, capture_output=True, text=True)


def candidates(contender: str, dtype: str, num_pairs: int) -> list[tuple[str, ...]]:
    """The settings that a baseline is tried with; its fastest competes."""
    if contender == "bergson_build":
        return [("--batch-tokens", size) for size in ("512", "256", "1024", "2048")]
    if contender == "trl_step":
        batches = [("--batch", str(size)) for size in (1, 2, 4) if num_pairs % size == 0]
        # Of TRL's defaults, recomputing activations costs time, and autocast means nothing to float32.
        extras = [("--checkpointing",)] + ([("--autocast",)] if dtype == "bfloat16" else [])
        return batches + [batches[-1] + extra for extra in extras]
    return [()]


def best(
    case: Case, contender: str, workload: str, options: list[tuple[str, ...]]
) -> tuple[tuple[str, ...] | None, list[Result]]:
    """The fastest of some settings of a contender (None: it cannot run) and what was tried."""
    if len(options) == 1:
        return options[0], []
    tried = [result for option in options if (result := case.run(contender, workload, *option)) is not None]
    if not tried:
        return None, []
    return tuple(min(tried, key=lambda result: float(result["seconds"]))["options"]), tried


def paired(
    case: Case, other: str, workload: str, ours: Sequence[str], options: Sequence[str], num_rounds: int
) -> list[tuple[Result, Result]]:
    """(ours, other) of every round; who goes first alternates."""
    rounds = []
    for number in range(num_rounds):
        if number % 2 == 0:
            first, second = case.run("ours", workload, *ours), case.run(other, workload, *options)
        else:
            second, first = case.run(other, workload, *options), case.run("ours", workload, *ours)
        if first is None or second is None:
            return []
        rounds.append((first, second))
    return rounds


def measure(case: Case, num_pairs: int, num_rounds: int, *, quick: bool) -> Result:
    """All lines of one case. Lines on the same runs, such as TRL's time and memory, share them."""
    rounds: dict[tuple[str, str, tuple[str, ...]], list[tuple[Result, Result]]] = {}
    searched: list[Result] = []
    lines = []
    for line in LINES:
        key = (line.other, line.workload, line.ours)
        if key not in rounds:
            settings = candidates(line.other, case.dtype, num_pairs)
            options, tried = best(case, line.other, line.workload, settings[:1] if quick else settings)
            searched += tried
            rounds[key] = [] if options is None else paired(case, *key, options, num_rounds)
        ratios = [ours[line.quantity] / other[line.quantity] for ours, other in rounds[key]]
        row: Result = {**asdict(line), "ratios": ratios, "target": line.target.get(case.dtype)}
        if ratios:
            row["ratio"] = statistics.median(ratios)
            row["ours_median"] = statistics.median(float(ours[line.quantity]) for ours, _ in rounds[key])
            row["other_median"] = statistics.median(float(other[line.quantity]) for _, other in rounds[key])
            row["other_options"] = rounds[key][0][1]["options"]
        lines.append(row)
    runs = [run for pairs in rounds.values() for pair in pairs for run in pair]
    return {"model": case.model, "dtype": case.dtype, "lines": lines, "searched": searched, "runs": runs}


def verdict(row: Result) -> str:
    if "ratio" not in row:
        package = PACKAGES.get(row["other"], row["other"])
        return f"skipped: {package} is not installed or failed"
    if row["target"] is None:
        return ""
    return "met" if row["ratio"] <= row["target"] else "NOT met"


def table(case: Result) -> str:
    """A case's lines for a person."""
    head = f"{'':38}{'ours':>9}{'other':>9}{'ratio':>8}{'spread':>14}{'target':>8}"
    out = [f"\n{case['model']}, {case['dtype']}", head]
    for row in case["lines"]:
        cells = f"{row['title']:38}"
        if "ratio" in row:
            scale, unit = (1e9, "GB") if row["quantity"].endswith("bytes") else (1.0, "s")
            spread = f"{min(row['ratios']):.2f}-{max(row['ratios']):.2f}"
            ours, other = (f"{row[key] / scale:.2f} {unit}" for key in ("ours_median", "other_median"))
            target = "" if row["target"] is None else f"{row['target']:.2f}"
            cells += f"{ours:>9}{other:>9}{row['ratio']:>8.2f}{spread:>14}{target:>8}"
        out.append(f"{cells}  {verdict(row)}".rstrip())
    return "\n".join(out)


def language_state(case: Result) -> float | None:
    """Memory of one language's gradient in the sketch space as a share of one full gradient (both float32)."""
    run = next((run for run in case["runs"] if run["contender"] == "ours" and not run["options"]), None)
    return None if run is None else run["dims"] / run["num_weights"]


def script(module: str, *options: str, threads: int) -> Result | None:
    """Another program of the bench that prints JSON in its last line."""
    command = [sys.executable, "-m", module, *options]
    done = execute(command, threads)
    if done.returncode:
        print(f"{module} failed:\n{done.stderr[-2000:]}", file=sys.stderr)
        return None
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in SHOWN:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="short name or directory; may be given again")
    parser.add_argument("--dtype", action="append", choices=("float32", "bfloat16"), help="may be given again")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=Path("runs/bench.json"))
    parser.add_argument("--quick", action="store_true", help="4 pairs, one round, no search: does it all still run?")
    options = parser.parse_args()
    num_pairs, num_rounds = (4, 1) if options.quick else (options.pairs, options.rounds)
    report: Result = {"pairs": num_pairs, "rounds": num_rounds, "threads": options.threads, "versions": versions()}
    report["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
    cases: list[Result] = []
    with tempfile.TemporaryDirectory() as scratch:
        for model in options.model or ["smollm2-135m"]:
            directory = resolve(model)
            paths = {name: Path(scratch) / f"{Path(model).name}-{name}.json" for name in WORKLOADS}
            for name, path in paths.items():
                build(name, directory, num_pairs).save(path)
            for dtype in options.dtype or ["float32", "bfloat16"]:
                case = measure(
                    Case(model, directory, dtype, paths, options.threads), num_pairs, num_rounds, quick=options.quick
                )
                case["language_state_share"] = language_state(case)
                cases.append(case)
                print(table(case), flush=True)
                if case["language_state_share"] is not None:
                    print(f"one language's state is {case['language_state_share']:.3%} of a full gradient")
            some = "20" if options.quick else "100"
            upper = script("bench.upper_half", "--model", directory, "--pairs", some, threads=options.threads)
            if upper is not None:
                cases[-1]["upper_half"] = upper
                print(f"upper half against all blocks: Spearman {upper['spearman']:.3f} over {upper['pairs']} pairs")
    report["cases"] = cases
    refilter_pairs = "2000" if options.quick else "100000"
    report["refilter"] = script("bench.refilter", "--pairs", refilter_pairs, threads=options.threads)
    if report["refilter"] is not None:
        print(report["refilter"]["told"])
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to {options.output}")


if __name__ == "__main__":
    main()
