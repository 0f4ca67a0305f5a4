"""`python -m bench.models`: every causal language model that transformers registers, through the check and the passes.

    python -m bench.models                     goes on where the last call stopped
    python -m bench.models --only bloom        one type again
    python -m bench.models --markdown          the page of all that is done, docs/models.md

Every type is a process of its own with limits of time and memory, and a line of JSON in OUTPUT. The exit code is 1
where one is wrong or ends in a traceback.
"""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}  # before any import

import argparse
import json
import logging
import multiprocessing
import resource
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path

from transformers.utils import logging as transformers_logging

from bench.models.measure import Result, in_a_line, measure
from bench.models.page import outcome, page
from bench.models.tiny import CAUSAL, IMAGE_TEXT, REGISTRIES
from bench.where import commit, processor

SECONDS, BYTES = 120, 8 * 10**9


def limited(kind: str) -> Result:
    """A type's row; one that hangs, takes all memory or dies has a row, too."""
    here, there = multiprocessing.get_context("fork").Pipe()
    process = multiprocessing.get_context("fork").Process(target=work, args=(kind, there))
    process.start()
    there.close()
    try:
        row: Result = here.recv() if here.poll(SECONDS) else {"type": kind, "traceback": f"more than {SECONDS} s"}
    except EOFError:
        row = {"type": kind, "traceback": "the process died"}
    process.kill()
    process.join()
    return row


def work(kind: str, there: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        there.send(measure(kind))
    except Exception as error:
        there.send({"type": kind, "traceback": f"of the program itself: {in_a_line(error)}"})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", choices=(*CAUSAL, *IMAGE_TEXT), metavar="TYPE", action="append", help="may be given again"
    )
    parser.add_argument("--markdown", action="store_true", help="run nothing; print the page of what is done")
    parser.add_argument("--output", type=Path, default=Path("runs/models.jsonl"))
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.touch()
    every: dict[str, dict[str, Result]] = defaultdict(dict)
    for line in options.output.read_text("utf-8").splitlines():
        row = json.loads(line)
        every[row["transformers"]][row["type"]] = row  # the last one of a type
    rows = every.pop(version("transformers"), {})
    if options.markdown:
        elsewhere = {other: list(its_rows.values()) for other, its_rows in sorted(every.items())}
        print(page(list(rows.values()), facts(rows.values()), elsewhere), end="")
        return 0
    of = {"commit": commit(), "transformers": version("transformers")}
    for kind in options.only or [kind for kind in (*CAUSAL, *IMAGE_TEXT) if kind not in rows]:
        (registry,) = (name for name, types in REGISTRIES.items() if kind in types)
        rows[kind] = limited(kind) | of | {"registry": registry}
        with options.output.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows[kind]) + "\n")
        print(f"{kind:26s}", *outcome(rows[kind]), flush=True)
    found = Counter(outcome(row)[0] for row in rows.values())
    print(f"\ntransformers {version('transformers')}:", ", ".join(f"{number} {name}" for name, number in found.items()))
    return int(found["wrong"] + found["traceback"] > 0)


def facts(rows: Iterable[Result]) -> dict[str, str]:
    commits = sorted({row["commit"] for row in rows})
    versions = {name: version(name) for name in ("torch", "transformers", "peft")}
    named = f"Commit {', '.join(commits)}" + (" (each line is of one of them)" if len(commits) > 1 else "")
    return {"commit": named, "date": str(date.today()), "processor": processor(), **versions}


if __name__ == "__main__":
    sys.exit(main())
