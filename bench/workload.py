"""The work every contender does: N real preference pairs as token ids, written to JSON for the subprocesses.

Two workloads. `answers`: short prompts and long answers, as the pairs are, cut to `max_length` tokens a side.
`long-prompt`: the same pairs behind other real text in the same language, so that half of each side is prompt.
"""

import json
from dataclasses import asdict, dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from congrad.models.load import load_tokenizer
from congrad.preferences import TokenisedPairs, load_preferences, sample, tokenise

REPOSITORY = Path(__file__).parents[1]
SOURCES = (REPOSITORY.parent / "shared" / "data" / "pairs", REPOSITORY / "demo" / "pairs")
WORKLOADS = ("answers", "long-prompt")


@dataclass(frozen=True)
class Workload:
    """Pairs of one tokenizer; `prompt_ids[i] + chosen_ids[i]` is one sequence, with `rejected_ids[i]` the other."""

    name: str
    source: str
    rows: list[int]
    languages: list[str]
    prompt_ids: list[list[int]]
    chosen_ids: list[list[int]]
    rejected_ids: list[list[int]]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def num_tokens(self) -> int:
        """Tokens of both sequences of every pair, the prompt counted twice."""
        return sum(len(ids) for ids, _ in self.sequences())

    def sequences(self) -> list[tuple[list[int], int]]:
        """Two per pair, chosen first: the token ids, and how many of them are prompt."""
        triples = zip(self.prompt_ids, self.chosen_ids, self.rejected_ids, strict=True)
        return [(prompt + response, len(prompt)) for prompt, *sides in triples for response in sides]

    def head(self, num_pairs: int) -> "Workload":
        """The first `num_pairs` pairs, to warm up on."""
        lists: dict[str, Any] = {
            key: value[:num_pairs] for key, value in asdict(self).items() if isinstance(value, list)
        }
        return replace(self, **lists)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @staticmethod
    def load(path: Path) -> "Workload":
        return Workload(**json.loads(path.read_text(encoding="utf-8")))


def find_pairs() -> Path:
    """The development pairs where they are, else the demo's."""
    return next(path for path in SOURCES if path.is_dir())


def build(name: str, model: str, num_pairs: int, max_length: int = 256, seed: int = 0) -> Workload:
    """`num_pairs` pairs of mixed languages that can be scored, tokenised for `model` as a trainer would."""
    assert name in WORKLOADS, name
    source = find_pairs()
    preferences = sample(load_preferences(source), 5 * num_pairs, seed)
    tokenizer = load_tokenizer(model)
    pairs = tokenise(preferences, tokenizer, max_length=max_length)
    picked = round_robin(pairs)[:num_pairs]
    assert len(picked) == num_pairs, f"{source} has too few pairs that can be scored"
    prompts = [pairs.prompt_ids[i].tolist() for i in picked]
    chosen = [pairs.chosen_ids[i].tolist() for i in picked]
    rejected = [pairs.rejected_ids[i].tolist() for i in picked]
    if name == "long-prompt":
        half = max_length // 2
        start = 1 if tokenizer.bos_token_id in (prompts[0][0], None) else 0
        # Text in front: this pair's neighbour of the same language, as an example in a prompt would be.
        texts = [neighbour(pairs, i) for i in picked]
        prompts = [ids[:start] + (text + ids[start:])[start - half :] for text, ids in zip(texts, prompts, strict=True)]
        chosen, rejected = ([ids[:half] for ids in side] for side in (chosen, rejected))
    rows, languages = [pairs.rows[i] for i in picked], [pairs.languages[i] for i in picked]
    return Workload(name, source.name, rows, languages, prompts, chosen, rejected)


def round_robin(pairs: TokenisedPairs) -> list[int]:
    """Positions of the pairs that can be scored, one of each language in turn."""
    by_language: dict[str, list[int]] = {}
    for position, (language, reason) in enumerate(zip(pairs.languages, pairs.reasons, strict=True)):
        if not reason:
            by_language.setdefault(language, []).append(position)
    turns = zip_longest(*by_language.values())
    return [position for position in chain.from_iterable(turns) if position is not None]


def neighbour(pairs: TokenisedPairs, position: int) -> list[int]:
    """Prompt and chosen answer of the next pair of the same language, around the end."""
    same = [i for i, language in enumerate(pairs.languages) if language == pairs.languages[position]]
    other = same[(same.index(position) + 1) % len(same)]
    return [*pairs.prompt_ids[other].tolist(), *pairs.chosen_ids[other].tolist()]
