"""The stage `pair`: scored responses in, preference pairs in TRL's layout out.

stage.json      what the stage was begun with
language.json   how many responses are in another language than their prompt's, by language
pairs.jsonl     prompt, chosen, rejected, language; scores, lengths and languages of both sides in further columns
manifest.json   written last: what became of the prompts of every language

Which responses of a prompt make a pair is the rule of `preferences.pairing`.
"""

from collections import Counter
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from congrad.errors import UserError
from congrad.files import write_json
from congrad.languages.identify import Identified, identify_languages, language_report
from congrad.preferences.pairing import DROPPED, MARGIN, MISSING, OUTCOMES, PAIRED, SINGLE, TIE, Candidate, choose
from congrad.progress import SILENT, Listener, Progress
from congrad.selfreward.responses import SCORES, Responses, read_responses, read_scores
from congrad.settings.selfreward import Pair
from congrad.stage import begin, file_fingerprint, finish, forget_if_empty, write_rows

PAIRS, LANGUAGE = "pairs.jsonl", "language.json"
IN_WORDS = {
    SINGLE: "have a single response",
    MISSING: "lack scores",
    DROPPED: "lost their responses because of their language",
    TIE: "are ties",
    MARGIN: "differ by pair.min_margin or less",
}


@dataclass(frozen=True)
class Scored:
    """A response, its score and its language."""

    row: dict[str, Any]
    score: float | None
    identified: Identified

    def candidate(self) -> Candidate:
        return Candidate(self.score, len(self.row["response"]), bool(self.identified.off_target))


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
    scored = [Scored(*each) for each in zip(responses.rows, scores, identified, strict=True)]
    pairs: list[dict[str, Any]] = []
    outcomes: dict[str, Counter[str]] = {language: Counter() for language in sorted(set(languages))}
    for _, group in groupby(scored, key=lambda each: each.row["prompt_key"]):
        own = list(group)
        found, outcome = choose([each.candidate() for each in own], settings, own[0].row["prompt_key"])
        outcomes[own[0].row["language"]][outcome] += 1
        pairs += [pair_row(own[better], own[worse], margin, responses) for better, worse, margin in found]
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


def pair_row(better: Scored, worse: Scored, margin: float, responses: Responses) -> dict[str, Any]:
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
