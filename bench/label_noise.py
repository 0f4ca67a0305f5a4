"""Does a filter that finds planted label noise also train a better model?

    python -m bench.label_noise --pairs DIR --output DIR

One round from preference data. Of the pairs of every training language a share has its labels flipped, 10% in the first
language to 40% in the last. A model is then trained with every filter and measured on held-out pairs with their true
labels, in the training languages and in one that none of them was trained on. All languages of a prompt are held out
together, so that no translation of a held-out prompt is trained on.

`--pairs` names a folder of `LANGUAGE.jsonl` with `id` (the number in it is the prompt, in every language the same),
`prompt`, `chosen` and `rejected`. An interrupted call goes on when it is given again.
"""

import argparse
import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from congrad.loop.config import read_config
from congrad.loop.run import run_loop
from congrad.report.display import display
from congrad.report.loop import loop_listener
from congrad.settings.tree import METHODS, RunConfig
from congrad.stage import read_rows, write_rows

Row = dict[str, Any]
FLIPPED = "flipped"


def noise_rates(languages: Sequence[str], low: float, high: float) -> dict[str, float]:
    """Shares of flipped labels, in equal steps from `low` in the first language to `high` in the last."""
    steps = max(len(languages) - 1, 1)
    return {language: low + (high - low) * number / steps for number, language in enumerate(languages)}


def read_language(folder: Path, language: str) -> dict[int, Row]:
    """The pairs of a language by the number of their prompt."""
    rows = {}
    for row in read_rows(folder / f"{language}.jsonl"):
        texts = {name: row[name] for name in ("prompt", "chosen", "rejected")}
        rows[int(re.sub(r"\D", "", str(row["id"])))] = {"language": language, **texts}
    return rows


def split_prompts(numbers: set[int], num_train: int, num_held_out: int, seed: int) -> tuple[list[int], list[int]]:
    """Disjoint prompts to train on and to hold out, the same in every language."""
    drawn = random.Random(f"{seed} split").sample(sorted(numbers), num_train + num_held_out)
    return sorted(drawn[:num_train]), sorted(drawn[num_train:])


def flip(rows: Sequence[Row], share: float, seed: int) -> list[Row]:
    """The same rows, of which `round(share * len(rows))` have their sides exchanged, as the column `flipped` says."""
    flipped = set(random.Random(f"{seed} {rows[0]['language']}").sample(range(len(rows)), round(share * len(rows))))
    return [
        row | {"chosen": row["rejected"], "rejected": row["chosen"], FLIPPED: True}
        if number in flipped
        else row | {FLIPPED: False}
        for number, row in enumerate(rows)
    ]


def write_data(options: argparse.Namespace) -> None:
    """train.jsonl with its planted noise and held-out.jsonl without, in the output directory."""
    languages = [*options.train_languages, options.unseen]
    rows = {language: read_language(options.pairs, language) for language in languages}
    numbers = set.intersection(*(set(own) for own in rows.values()))
    train, held_out = split_prompts(numbers, options.limit, options.held_out, options.seed)
    rates = noise_rates(options.train_languages, options.low, options.high)
    options.output.mkdir(parents=True, exist_ok=True)
    noisy = [flip([rows[language][number] for number in train], rate, options.seed) for language, rate in rates.items()]
    write_rows(options.output / "train.jsonl", (row for own in noisy for row in own))
    write_rows(
        options.output / "held-out.jsonl", (rows[language][number] for language in languages for number in held_out)
    )


def make_config(options: argparse.Namespace) -> RunConfig:
    """One round from train.jsonl, with every filter."""
    overrides = {
        "model": {"name": options.model, "dtype": "float32"},
        "prompts": {"pairs": str(options.output / "train.jsonl")},
        "filter": {"methods": list(METHODS)},
        "index": {"seed": options.seed},
        "consensus": {"seed": options.seed},
        "selection": {"keep": options.keep},
        "train": {
            "learning_rate": options.learning_rate,
            "num_train_epochs": options.epochs,
            "per_device_train_batch_size": 4,
            "max_length": options.max_length,
            "seed": options.seed,
        },
        "rounds": {"count": 1, "lora": {"r": 16}},
        "evaluate": {
            "pairs": str(options.output / "held-out.jsonl"),
            "max_length": options.max_length,
            "seen": options.train_languages,
            "unseen": [options.unseen],
        },
    }
    return read_config(None, [f"{section}={json.dumps(values)}" for section, values in overrides.items()])


def noise_left(run: Path) -> dict[str, Mapping[str, float]]:
    """By method and language, the share of flipped labels among the pairs that it kept."""
    shares: dict[str, Mapping[str, float]] = {}
    for method in METHODS:
        kept = list(read_rows(run / method / "round-1" / "filter" / "kept.jsonl"))
        own = {
            language: [row[FLIPPED] for row in kept if row["language"] == language] for language in languages_of(kept)
        }
        shares[method] = {language: sum(flags) / len(flags) for language, flags in own.items()}
    return shares


def languages_of(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["language"] for row in rows))


def noise_table(shares: Mapping[str, Mapping[str, float]]) -> str:
    """`noise_left` in Markdown."""
    languages = list(shares["none"])
    lines = [f"| flipped labels among the kept | {' | '.join(languages)} |", f"|---|{'---:|' * len(languages)}"]
    for method, own in shares.items():
        cells = [f"{own[language]:.0%}" if language in own else "-" for language in languages]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="gemma3-270m")
    parser.add_argument("--train-languages", nargs="+", default=["de", "en", "es", "fr"])
    parser.add_argument("--unseen", default="ru")
    parser.add_argument("--limit", type=int, default=40, help="pairs to train on in each language")
    parser.add_argument("--held-out", type=int, default=40, help="pairs to measure on in each language")
    parser.add_argument("--low", type=float, default=0.1)
    parser.add_argument("--high", type=float, default=0.4)
    parser.add_argument("--keep", type=float, default=0.5)
    parser.add_argument("--max-length", type=int, default=96)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write_data(options)
    with display(quiet=False) as showing:
        listener = loop_listener(showing, quiet=False)
        run_loop(make_config(options), options.output / "run", listener=listener)
    print(noise_table(noise_left(options.output / "run")))
    print((options.output / "run" / "evaluate" / "evaluation.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
