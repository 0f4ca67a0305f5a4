"""The stage `pair`: scored responses in, preference pairs in TRL's layout out.

stage.json      what the stage was begun with
language.json   how many responses are in another language than their prompt's, by language
pairs.jsonl     prompt, chosen, rejected, language; scores, lengths and languages of both sides in further columns
manifest.json   written last: what became of the prompts of every language

A response ranks by its score, less what its language and its length take away:

    s(y) = score(y) - language_penalty [y is in another language] - length_control (|y| - mean |y|) / sd |y|

with lengths in characters, and mean and standard deviation over the prompt's own scored responses.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from congrad.errors import UserError
from congrad.files import write_json
from congrad.languages.identify import Identified, identify_languages, language_report
from congrad.progress import SILENT, Listener, Progress
from congrad.selfreward.responses import SCORES, Responses, read_responses, read_scores
from congrad.settings.selfreward import Pair
from congrad.stage import begin, file_fingerprint, finish, forget_if_empty, write_rows

PAIRS, LANGUAGE = "pairs.jsonl", "language.json"
DIGITS = 9  # closer than this two numbers are a tie that arithmetic blurred

# What became of a prompt, the first that holds.
PAIRED, SINGLE, MISSING, DROPPED, TIE, MARGIN = OUTCOMES = (
    "paired",
    "single_response",
    "missing_scores",
    "dropped_for_language",
    "ties",
    "below_min_margin",
)
IN_WORDS = {
    SINGLE: "have a single response",
    MISSING: "lack scores",
    DROPPED: "lost their responses because of their language",
    TIE: "are ties",
    MARGIN: "differ by pair.min_margin or less",
}


@dataclass(frozen=True)
class Candidate:
    """A response with what its ranking depends on."""

    row: dict[str, Any]
    score: float | None
    identified: Identified


def run_pair(generated: Path, judged: Path, settings: Pair, output: Path, *, listener: Listener = SILENT) -> None:
    """Makes pairs of scored responses; returns at once where that is done already.

    Args:
        generated, judged: directories of `generate` and `judge`.

    Raises:
        UserError: no pair is left, or an input is unfinished.
    """
    responses = read_responses(generated)
    scores = read_scores(judged, responses)
    inputs = {"responses": responses.fingerprint, "scores": file_fingerprint(judged / SCORES)}
    forget_if_empty(output, "pair", PAIRS, LANGUAGE)
    if begin(output, "pair", {**asdict(settings), **inputs}):
        return
    languages = [row["language"] for row in responses.rows]
    total = len(languages)

    def tell(done: int) -> None:
        listener.on_progress(Progress("identifying languages", done, total, "answers"))

    tell(0)
    identified = identify_languages([row["response"] for row in responses.rows], languages, tell)
    report = language_report(identified, languages)
    write_json(output / LANGUAGE, report)
    candidates = [Candidate(*each) for each in zip(responses.rows, scores, identified, strict=True)]
    pairs: list[dict[str, Any]] = []
    outcomes: dict[str, Counter[str]] = {language: Counter() for language in sorted(set(languages))}
    for _, group in groupby(candidates, key=lambda each: each.row["prompt_key"]):
        own = list(group)
        found, outcome = choose(own, settings)
        outcomes[own[0].row["language"]][outcome] += 1
        pairs += [pair_row(better, worse, margin, responses) for better, worse, margin in found]
    if not pairs:
        raise UserError(f"no pairs are left: {in_words(sum(outcomes.values(), Counter()))}")
    write_rows(output / PAIRS, pairs)
    counts = Counter(row["language"] for row in pairs)
    by_language = {
        language: {"pairs": counts[language], "prompts": own.total()} | {name: own[name] for name in OUTCOMES}
        for language, own in outcomes.items()
    }
    finish(output, {"pairs": len(pairs), "languages": by_language, "warnings": warnings(outcomes, settings, report)})
    tell(total)


# The rules, prompt by prompt


def choose(candidates: Sequence[Candidate], settings: Pair) -> tuple[list[tuple[Candidate, Candidate, float]], str]:
    """The pairs of one prompt, given its responses in the order of their samples.

    Returns:
        Better response, worse response and by how much, for every pair; and what became of the prompt, of `OUTCOMES`.
    """
    scored = [each for each in candidates if each.score is not None]
    left = [each for each in scored if not (settings.language == "drop" and each.identified.off_target)]
    if len(left) < 2:
        return [], SINGLE if len(candidates) < 2 else MISSING if len(scored) < 2 else DROPPED
    rank = dict(zip(map(id, left), ranking_scores(left, settings), strict=True))

    def margin(better: Candidate, worse: Candidate) -> float:
        return round(rank[id(better)] - rank[id(worse)], DIGITS)

    best = max(left, key=lambda each: rank[id(each)])
    worst = min(left, key=lambda each: rank[id(each)])
    if margin(best, worst) <= settings.min_margin:
        return [], TIE if margin(best, worst) == 0 else MARGIN
    if settings.method == "best-worst":
        ordered = [(best, worst)]
    elif settings.method == "all":
        ordered = [(one, other) for one in left for other in left if margin(one, other) > settings.min_margin]
    else:
        below = [each for each in left if margin(best, each) > settings.min_margin]
        draw = random.Random(f"{settings.seed} {best.row['prompt_key']}")
        ordered = [(best, draw.choice(below))]
    return [(better, worse, margin(better, worse)) for better, worse in ordered], PAIRED


def ranking_scores(candidates: Sequence[Candidate], settings: Pair) -> list[float]:
    """s(y) of responses that all have a score."""
    lengths = [len(each.row["response"]) for each in candidates]
    mean = sum(lengths) / len(lengths)
    deviation = math.sqrt(sum((length - mean) ** 2 for length in lengths) / len(lengths))
    ranking = []
    for each, length in zip(candidates, lengths, strict=True):
        assert each.score is not None
        score = each.score
        if settings.language == "penalise" and each.identified.off_target:
            score -= settings.language_penalty
        if settings.length_control and deviation:
            score -= settings.length_control * (length - mean) / deviation
        ranking.append(score)
    return ranking


def pair_row(better: Candidate, worse: Candidate, margin: float, responses: Responses) -> dict[str, Any]:
    """A row of `pairs.jsonl`: conversations where the model was asked in conversations, so that TRL renders what was
    sampled; else text."""
    row = better.row
    sides = {"chosen": better, "rejected": worse}
    texts = {name: each.row["response"] for name, each in sides.items()}
    talks = {name: [{"role": "assistant", "content": text}] for name, text in texts.items()}
    return {
        "prompt": responses.prompt(row),
        **(talks if responses.chat else texts),
        "language": row["language"],
        "margin": margin,
        **{f"{name}_score": each.score for name, each in sides.items()},
        **{f"{name}_length": len(each.row["response"]) for name, each in sides.items()},
        **{f"{name}_tokens": each.row["num_tokens"] for name, each in sides.items()},
        **{f"{name}_language": each.identified.detected for name, each in sides.items()},
        **{f"{name}_key": each.row["key"] for name, each in sides.items()},
        "prompt_key": row["prompt_key"],
        "row": row["row"],
    }


# What is said of it


def in_words(outcome: Counter[str]) -> str:
    """What became of the prompts, and the fix."""
    counts = ", ".join(f"{outcome[name]} {words}" for name, words in IN_WORDS.items() if outcome[name])
    fixes = {
        SINGLE: "raise generate.samples or generate.temperature",
        MISSING: "see the judge's hygiene.json",
        DROPPED: f"see {LANGUAGE} and set pair.language to penalise or off",
        TIE: "raise judge.samples or name a judge that distinguishes responses better",
        MARGIN: "lower pair.min_margin",
    }
    worst = max(fixes, key=lambda name: outcome[name])
    return f"of {outcome.total()} prompts {counts}; {fixes[worst]}"


def warnings(outcomes: dict[str, Counter[str]], settings: Pair, report: dict[str, Any]) -> list[str]:
    """What a person should know of the pairs before going on."""
    without = {language: outcome for language, outcome in outcomes.items() if not outcome[PAIRED]}
    found = [f"{language} gets no pairs: {in_words(outcome)}" for language, outcome in without.items()]
    if report["unknown"]:
        problem = f"the language of responses cannot be checked in {', '.join(report['unknown'])}"
        found.append(f"{problem}: lingua does not know a language of that name")
    off = {language: row["off_target_rate"] or 0 for language, row in report["languages"].items()}
    rates = ", ".join(f"{language} ({rate:.0%})" for language, rate in off.items() if rate >= 0.1)
    if settings.language == "off" and rates:
        found.append(f"responses are in another language than their prompt's in {rates}; see pair.language")
    return found
