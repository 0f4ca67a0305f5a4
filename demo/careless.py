"""The demo's pairs as a careless judge would label them: in some languages it prefers the wrong answer now and then.

    python demo/careless.py label runs/demo-pairs [--noise 0.25] [--seed 0]
    python demo/careless.py count runs/demo-pairs runs/demo

`label` copies the pairs, and swaps chosen and rejected in a share of those in every language but CAREFUL. The column
`swapped`, which the filter does not read, says in which. `count` says how many of the swapped pairs a run dropped,
beside the others.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

PAIRS = Path(__file__).parent / "pairs"
CAREFUL = ("en",)


def labelled(language: str, rows: list[dict[str, Any]], noise: float, seed: int) -> list[dict[str, Any]]:
    """The rows with `swapped`; exactly that share of a language's that is judged without care, drawn at random."""
    number = 0 if language in CAREFUL else round(noise * len(rows))
    swapped = set(random.Random(f"{seed}:{language}").sample(range(len(rows)), number))
    return [
        row | {"chosen": row["rejected"], "rejected": row["chosen"], "swapped": True}
        if index in swapped
        else row | {"swapped": False}
        for index, row in enumerate(rows)
    ]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def label(output: Path, noise: float, seed: int) -> str:
    """Writes the pairs of every language; the same bytes for the same noise and seed."""
    output.mkdir(parents=True, exist_ok=True)
    number = total = 0
    for path in sorted(PAIRS.glob("*.jsonl")):
        rows = labelled(path.stem, read(path), noise, seed)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (output / path.name).write_text(text, encoding="utf-8", newline="\n")
        number, total = number + sum(row["swapped"] for row in rows), total + len(rows)
    if not number:
        return f"{output}: {total} pairs, all with the right label"
    return f"{output}: {total} pairs; a careless judge swapped {number} labels, none in {', '.join(CAREFUL)}"


def count(pairs: Path, run: Path) -> str:
    """In words, how many of the swapped pairs a run dropped, and how many of the others."""
    swapped = {row["id"]: row["swapped"] for path in sorted(pairs.glob("*.jsonl")) for row in read(path)}
    kept = {row["id"] for row in read(run / "kept.jsonl")}
    words = []
    for is_swapped, name in ((True, "swapped labels"), (False, "right labels")):
        every = [key for key, value in swapped.items() if value == is_swapped]
        if every:
            dropped = sum(key not in kept for key in every)
            words.append(f"{dropped} of {len(every)} pairs with {name} ({dropped / len(every):.0%})")
    said = "the filter dropped " + " and ".join(words)
    share = sum(key not in kept for key in swapped) / len(swapped)
    return said + (f"; at random, {share:.0%} of each" if 0 < share < 1 and len(words) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("label")
    one.add_argument("output", type=Path)
    one.add_argument("--noise", type=float, default=0.25)
    one.add_argument("--seed", type=int, default=0)
    other = commands.add_parser("count")
    other.add_argument("pairs", type=Path)
    other.add_argument("run", type=Path)
    args = parser.parse_args()
    if args.command == "count":
        print(count(args.pairs, args.run))
    elif 0 <= args.noise <= 0.5:
        print(label(args.output, args.noise, args.seed))
    else:
        parser.error(f"--noise {args.noise} should be from 0 to 0.5; beyond, the wrong labels would be the rule")


if __name__ == "__main__":
    main()
