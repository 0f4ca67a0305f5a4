"""`python -m bench.fuzz`: hostile inputs for every command, and what must hold of each.

    python -m bench.fuzz --seconds 600              goes on where the last call stopped
    python -m bench.fuzz --only refilter --seed 7   one target, other draws
    python -m bench.fuzz --case refilter/7/31       one case again, with all that it prints
    python -m bench.fuzz --case refilter/7/31/0     with the first of its mutations alone
    python -m bench.fuzz --readers 200              the readers alone: files of 50 rows in many layouts
    python -m bench.fuzz --readers 200 --file 31    one of these files again

Every result is a line of JSON in OUTPUT/COMMIT.jsonl. At the end a table of all of them is printed, and the failures by
what they have in common. The exit code is 1 where there is any.
"""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}  # before any import

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import date
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from bench.fuzz import readers, sandbox
from bench.fuzz.seeds import make_seeds
from bench.fuzz.targets import TARGETS, Case, Command
from bench.where import commit, processor

Result = dict[str, Any]
ROWS = 50  # of a file for the readers


class Bench:
    """A directory with the seeds, in which one case after another is run."""

    def __init__(self, directory: Path) -> None:
        self.scratch, self.seeds, self.model = (directory / name for name in ("case", "seeds", "model"))
        for path in (self.scratch, self.seeds, self.model):
            shutil.rmtree(path, ignore_errors=True)
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / "seeds.log").open("w") as log, redirect_stdout(log), redirect_stderr(log):
            make_seeds(self.scratch / "work", self.model)  # there, since a run's manifest names its place
        (self.scratch / "work").rename(self.seeds)

    def run(self, case: Case) -> tuple[Command, sandbox.Done]:
        shutil.rmtree(self.scratch, ignore_errors=True)
        shutil.copytree(self.seeds, self.scratch / "work")
        (self.scratch / "elsewhere").mkdir()
        (self.scratch / "elsewhere" / "kept").write_text("of somebody else\n")
        command = TARGETS[case.target](case, self.scratch / "work")
        words = [word.replace("{model}", str(self.model)) for word in command.words]
        run = partial(sandbox.run, words, self.scratch, replies=command.replies, may_change=command.may_change)
        done = run(fault=command.fault)
        if command.fault is not None and not sandbox.problems(done):
            again = run()
            if again.code != 0 or sandbox.problems(again):
                return command, replace(again, ended=f"does not go on afterwards {again.ended}")
        return command, done

    def result(self, case: Case) -> Result:
        """What a case did; of one that failed, the smallest that fails in the same way."""
        command, done = self.run(case)
        problems = sandbox.problems(done)
        result = {
            "case": str(case),
            "target": case.target,
            "code": done.code,
            "problems": problems,
            "seconds": round(done.seconds, 3),
            "bytes": done.bytes_more,
            "mutations": command.told,
        }
        if problems and len(case.mutations) > 1:
            for number in case.mutations:
                smaller = Case(case.target, case.seed, case.number, number)
                if signatures(sandbox.problems(self.run(smaller)[1])) == signatures(problems):
                    return result | {"smallest": str(smaller)}
        return result


def signatures(problems: list[str]) -> set[str]:
    return {sandbox.signature(problem) for problem in problems}


def cases(targets: list[str], seed: int, done: set[str], most: int | None) -> Iterator[Case]:
    """Target after target, those that are done already left out."""
    for number in count() if most is None else range(most):
        yield from (case for target in targets if str(case := Case(target, seed, number)) not in done)


def table(results: list[Result]) -> str:
    head = "| target | cases | exit 0 | exit 2 | slowest, s | most memory, MB | failures |"
    lines = [head, "|---|---:|---:|---:|---:|---:|---:|"]
    for target in TARGETS:
        if own := [result for result in results if result["target"] == target]:
            codes = [result["code"] for result in own]
            slowest, most = max(result["seconds"] for result in own), max(result["bytes"] for result in own)
            failures = sum(bool(result["problems"]) for result in own)
            cells = (target, len(own), codes.count(0), codes.count(2), f"{slowest:.1f}", round(most / 1e6), failures)
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def failures(results: list[Result]) -> str:
    """Each signature with how often it was met, and a case of it."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        for problem in result["problems"]:
            groups.setdefault(sandbox.signature(problem), []).append(result | {"problem": problem})
    lines = []
    for group in sorted(groups.values(), key=len, reverse=True):
        first = min(group, key=lambda result: len(result["mutations"]))
        lines.append(f"{len(group)} x {first['problem']}\n    --case {first.get('smallest', first['case'])}")
        lines += [f"    {told}" for told in first["mutations"]]
    return "\n".join(lines)


def show_case(bench: Bench, case: Case) -> int:
    command, done = bench.run(case)
    print(*command.told, f"congrad {' '.join(map(str, command.words))}"[:2000], sep="\n")
    print(done.out[:20_000], done.err[-20_000:], sep="---\n")
    print(f"--- exit code {done.code} {done.ended}, {done.seconds:.1f} s, {done.bytes_more / 1e6:.0f} MB more")
    found = sandbox.problems(done)
    print(*found, sep="\n")
    return int(bool(found))


def show_readers(files: int, seed: int, only: int | None) -> int:
    began = time.monotonic()
    told, wrong = readers.run(files, ROWS, seed, only)
    print(
        f"Commit {commit()}, {processor()}, {date.today()}, {time.monotonic() - began:.0f} s:\n\n{told}\n",
        *wrong,
        sep="\n",
    )
    return int(bool(wrong))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600, help="begin no case after these")
    parser.add_argument("--cases", type=int, help="of each target; without it, as many as there is time for")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=TARGETS, action="append", help="may be given again")
    parser.add_argument("--case", type=Case.named, help="run this one and show what it prints")
    parser.add_argument("--output", type=Path, default=Path("runs/fuzz"))
    parser.add_argument("--readers", type=int, metavar="FILES", help="fuzz the readers of pairs alone, with these many")
    parser.add_argument("--file", type=int, help="of --readers: run this one")
    options = parser.parse_args()
    if options.readers is not None:
        return show_readers(options.readers, options.seed, options.file)
    began = time.monotonic()
    bench = Bench(options.output.absolute())
    if options.case is not None:
        return show_case(bench, options.case)
    path = options.output / f"{commit()}.jsonl"
    path.touch()
    results: list[Result] = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    done = {result["case"] for result in results}
    for case in cases(options.only or list(TARGETS), options.seed, done, options.cases):
        if time.monotonic() - began > options.seconds:
            break
        result = bench.result(case)
        results.append(result)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        if result["problems"]:
            print(result["case"], *result["problems"], sep="\n    ", flush=True)
    print(f"\nCommit {commit()}, {processor()}, {date.today()}:\n\n{table(results)}\n\n{failures(results)}")
    return int(any(result["problems"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
