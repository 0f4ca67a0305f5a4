"""What the rows say: an outcome for each, and the page of all."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.models.measure import DIFFERENTIABLE, TIMES_OWN
from bench.models.tiny import CAUSAL, IMAGE_TEXT, REGISTRIES

Result = dict[str, Any]
HEAD = ("type", "outcome", "route", "float32", "float64", "bfloat16", "LoRA", "general / packed")
OUTCOMES = {
    "exact": "all that is said above holds.",
    "detached": "sketches are those of the gradient that training takes, from which the family leaves out a path.",
    "wrong": "what is said above does not hold, and nothing says so.",
    "traceback": "the program ends in an error of its own, or takes too long.",
    "refused": "one line says why, before anything is written.",
    "not causal": "as it is loaded, the model reads ahead. It is refused in one line.",
    "not built": "there is no tiny model that runs on text alone here; most reasons are the library's own lines.",
}
TEXT = """# Models

Every causal language model that transformers loads goes in, by its name or directory. Nobody keeps a list: a check
looks at the model itself before anything is written ([](how-it-works.md)), and there are three ends to it.

- **It goes the fast way**: packed, both sides of a pair in one row of tokens. {packed} of the types below do.
- **It goes the general way**: by its own forward, one pair at a time. {general} of the types below do, among them those
  with state spaces, with attention of their own, or with experts that nobody else has. A line says so and why. The
  result means the same. It takes 1.1 to 1.7 times as long on real models ([](performance.md)). On the tiny ones
  below, where calls cost more than arithmetic, it took {ratio:.1f} times as long (median) where both ways are open.
- **It is refused** in one line with exit code 2: {not_causal} types read ahead as they are loaded (encoders, which the
  registry holds, too), and {refused} for another reason. Where a configuration has a switch that makes such a model
  read from left to right, and it is on, the model goes in.

Text parts of models that read images, too, take the same ways, on rows of text; their towers are not run.

## What was tried

Every type in the registry of transformers {transformers}: {num_causal} causal language models, and {num_image} that
take images and text and are not among them. For each, a random model of four small layers is built with what its
checkpoints may switch on: grouped heads, windows shorter than the pairs, soft caps, scales, biases, more experts than a
token takes, random norms. It is saved, loaded as a user's is, and checked. Four pairs are sketched by the route that
the check chooses and by the general one, in float32 and in bfloat16, with and without a LoRA adapter on its linear
layers. It is **exact** where

- in float32, sketches and log-probabilities are within {exact} (relative) of what `torch.autograd.grad` gives on the
  model's own forward, projected by definition;
- in float64, the derivative of $\\log p(y_w) - \\log p(y_l)$ along a random direction of all weights in the gradient
  space, by central differences, is within {differentiable} of what that gradient says. It would find what a family
  detaches;
- in bfloat16, sketches and log-probabilities are no further from the float32 truth than {times_own} times what the
  model's own forward and backward in bfloat16 are, in the worst of its own implementations.

{counts}

{commit}, {date}, {processor};
torch {torch}, transformers {transformers}, PEFT {peft}. Written by the program
that did it, which goes on where it stopped:

<!-- not run: it takes half an hour -->
```sh
python -m bench.models
python -m bench.models --markdown > docs/models.md
```

Called under another version of transformers, the program adds the rows of that one, and the page has its counts above.
The rest of this page is about transformers {transformers}.

## What is not exact, and why

{others}

## All of them

float32 and LoRA: the largest relative difference of a sketch or log-probability. float64: that of the derivative.
bfloat16: the largest difference in times of the model's own. The last column: seconds of the general pass over the
packed one's.

{tables}
"""


def parts(row: Result) -> list[Result]:
    """Whatever was asked of the program, with its answer."""
    return [answer for name in ("bare", "lora") for answer in row.get(name, {}).values()]


def outcome(row: Result) -> tuple[str, str]:
    """In a word, and why."""
    if "not built" in row:
        return "not built", row["not built"]
    for answer in (row, *parts(row)):
        if "traceback" in answer:
            return "traceback", answer["traceback"]
    if "refused" in row:
        return "refused", row["refused"]
    refused = [answer["refused"] for answer in parts(row) if "refused" in answer]
    if not row["causal"]:
        if "refused" not in row["bare"]["float32 auto"]:
            return "wrong", "it reads ahead and is not refused"
        hidden = "refused" not in row["bare"]["bfloat16 auto"]
        return "not causal", refused[0] + (" (in bfloat16 it reads ahead by less than rounding)" if hidden else "")
    if refused:
        return "refused", refused[0]
    wrong = [
        f"{name} {key}" for name in ("bare", "lora") for key, each in row.get(name, {}).items() if not each["fine"]
    ]
    if wrong:
        return "wrong", ", ".join(wrong)
    if "no derivative" in row:
        return "wrong", f"no derivative in float64: {row['no derivative']}"
    if row["derivative"] > DIFFERENTIABLE:
        return "detached", f"its derivative in float64 is {row['derivative']:.1g} from its gradient's"
    return "exact", ""


def largest(answers: Iterable[tuple[str, Result]], precision: str) -> float | None:
    found = [max(each["sketch"], each["logps"]) for name, each in answers if precision in name and "sketch" in each]
    return max(found, default=None)


def ratio(row: Result) -> float | None:
    """Seconds of the general pass over the packed one's."""
    packed, general = (row.get("bare", {}).get(f"float32 {route}", {}) for route in ("auto", "general"))
    return general["seconds"] / packed["seconds"] if "seconds" in general else None


def routes(row: Result) -> str:
    bare = row.get("bare", {})
    found = [bare.get(f"{precision} auto", {}).get("route", "") for precision in ("float32", "bfloat16")]
    return found[0] if found[0] == found[1] else f"{found[0]}; {found[1]} in bfloat16"


def cells(row: Result) -> list[str]:
    bare, lora = (row.get(name, {}).items() for name in ("bare", "lora"))
    numbers = [(largest(bare, "float32"), ".0e"), (row.get("derivative"), ".0e"), (largest(bare, "bfloat16"), ".1f")]
    numbers += [(largest(lora, "float32"), ".0e"), (ratio(row), ".1f")]
    return [
        row["type"],
        outcome(row)[0],
        routes(row),
        *("" if value is None else f"{value:{form}}" for value, form in numbers),
    ]


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    every = [head, ["---", *["---:"] * (len(head) - 1)], *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in every)


def counts(rows: Sequence[Result]) -> list[str]:
    found = Counter(outcome(row)[0] for row in rows)
    routed = Counter(routes(row).partition(";")[0] for row in rows if outcome(row)[0] == "exact")
    built = len(rows) - found["not built"]
    shown = [len(rows), built, built - found["not causal"], found["exact"], routed["packed"], routed["general"]]
    return [
        str(number) for number in (*shown, *(found[name] for name in OUTCOMES if name not in ("exact", "not built")))
    ]


def page(rows: Sequence[Result], facts: dict[str, str], elsewhere: Mapping[str, Sequence[Result]]) -> str:
    """The whole page.

    Args:
        facts: commit, date, processor and versions.
        elsewhere: rows under other versions of transformers.
    """
    by_type = {row["type"]: row for row in rows}
    kinds = {name: [by_type[kind] for kind in types if kind in by_type] for name, types in REGISTRIES.items()}
    every = [row for group in kinds.values() for row in group]
    routed = Counter(routes(row).partition(";")[0] for row in every if outcome(row)[0] == "exact")
    found = Counter(outcome(row)[0] for row in every)
    others = [name for name in OUTCOMES if name not in ("exact", "not built")]
    head = ("", "types", "built", "causal", "exact", "packed", "general", *others)
    counted = [(name, *counts(group)) for name, group in kinds.items()]
    for other, its_rows in elsewhere.items():
        for name in kinds:
            group = [row for row in its_rows if row["registry"] == name]
            counted.append((f"{name}, transformers {other}", *counts(group)))
    told = []
    for name, words in OUTCOMES.items():
        group = [row for row in every if outcome(row)[0] == name]
        if name != "exact" and group:
            told.append(f"**{name}**: {words}\n")
            told.append(listed([(row, outcome(row)[1]) for row in group]) + "\n")
    without = [row for row in every if outcome(row)[0] == "exact" and "no adapter" in row]
    if without:
        told.append("**exact, and PEFT puts no adapter of this kind into it**:\n")
        told.append(listed([(row, row["no adapter"]) for row in without]))
    tables = [
        f"### {name.capitalize()}\n\n{markdown(HEAD, map(cells, sorted(group, key=lambda row: row['type'])))}"
        for name, group in kinds.items()
    ]
    return TEXT.format(
        packed=routed["packed"],
        general=routed["general"],
        not_causal=found["not causal"],
        refused=found["refused"],
        ratio=statistics.median([each for row in every if (each := ratio(row)) is not None]),
        num_causal=len(CAUSAL),
        num_image=len(IMAGE_TEXT),
        exact="0.0001",
        differentiable="0.00001",
        times_own=TIMES_OWN,
        counts=markdown(head, counted),
        others="\n".join(told),
        tables="\n\n".join(tables),
        **facts,
    )


def listed(reasons: Iterable[tuple[Result, str]]) -> str:
    """Types by their reason; those that differ in names alone share one."""
    groups: dict[str, list[str]] = {}
    for row, reason in reasons:
        own = reason.replace(f"'{row['type']}'", "TYPE").replace(row.get("class", "no class"), "CLASS")
        groups.setdefault(own.replace("`", "'"), []).append(row["type"])
    return "\n".join(f"- {', '.join(kinds)}: `{reason}`" for reason, kinds in groups.items())
