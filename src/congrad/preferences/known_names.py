"""Names in common use for the columns of preference data: what public data sets and the trainers' readers call them."""

from collections.abc import Iterator, Sequence

CANONICAL = ("prompt", "chosen", "rejected")
PROMPTS = (
    *("question", "instruction", "input", "inputs", "query", "prompts", "user_prompt", "prompt_text", "context"),
    *("conversations", "conversation", "problem", "request", "user_input", "input_text", "post"),
)
"""Of the prompt, beside `prompt`."""
WHOLE = "messages"
"""A conversation as a whole; the prompt where no other column is and the responses are single messages or texts."""
GOOD_AND_BAD = (
    *(("chosen", "rejected"), ("preferred", "dispreferred"), ("preferred", "non_preferred"), ("accepted", "rejected")),
    *(("selected", "rejected"), ("winning", "losing"), ("winner", "loser"), ("win", "lose"), ("better", "worse")),
    *(("positive", "negative"), ("good", "bad"), ("pos", "neg"), ("correct", "incorrect")),
)
RESPONSES = ("response", "answer", "completion", "output", "message", "messages", "text", "reply", "conversation")
OTHER_SIDES = (
    *(("response_j", "response_k"), ("response", "rejected_response"), ("answer", "rejected_answer")),
    *(("output", "rejected_output"), (WHOLE, "rejected_response"), (WHOLE, "rejected_messages")),
)
SYSTEM = ("system", "system_prompt", "system_message")
HISTORY = ("history",)
LANGUAGE = ("language", "lang", "lang_code", "language_code", "targets_language", "target_language", "locale")

TWO = (("0", "1"), ("1", "2"), ("a", "b"), ("A", "B"), ("left", "right"), ("first", "second"))
COMPARED = ("response", "answer", "completion", "output", "conversation", "human_ref", "reply", "generation", "text")
BETTER = (
    *("winner", "better", "better_response_id", "safer_response_id", "better_response", "preferred", "preference"),
    *("overall_preference", "label", "labels", "choice", "human_preference", "winner_model"),
)
WINNERS = (("winner_*", ("winner_model_a", "winner_model_b")), ("winner_*", ("winner_a", "winner_b")))
"""Columns of which each is true for one outcome, and those that show that they are there."""
RATED = ("responses", "completions", "answers", "generations", "candidates", "outputs", "replies")
SCORES = ("scores", "ratings", "rating", "overall_scores", "rewards", "score")
RANKS = ("rankings", "ranking", "ranks", "rank")
TREE = ("message_id", "parent_id", "text", "role", "rank")
LABELLED = (("completion", "response", "output", "answer"), ("label", "labels"))
"""Of rows of one response and whether it is good, as KTO takes them."""
NOT_READ = {
    **dict.fromkeys(("image", "images"), "an image"),
    **dict.fromkeys(("video", "videos"), "a video"),
    **dict.fromkeys(("audio", "audios"), "sound"),
}
"""What a model is shown beside text."""


def sides() -> Iterator[tuple[str, str]]:
    """Pairs of names for the response that was preferred and the other one."""
    for good, bad in GOOD_AND_BAD:
        yield good, bad
        for noun in RESPONSES:
            yield f"{good}_{noun}", f"{bad}_{noun}"
            yield f"{noun}_{good}", f"{noun}_{bad}"
    yield from OTHER_SIDES


def compared() -> Iterator[tuple[str, str]]:
    """Pairs of names for two responses of which another column says which is better."""
    for noun in COMPARED:
        for one, other in TWO:
            yield f"{noun}_{one}", f"{noun}_{other}"
            yield f"{noun}{one}", f"{noun}{other}"
            yield f"{one}_{noun}", f"{other}_{noun}"


def scored() -> Iterator[tuple[str, str]]:
    """Pairs of names for the scores of two responses."""
    for noun in ("score", "rating", "reward"):
        for one, other in TWO[:4]:
            yield f"{noun}_{one}", f"{noun}_{other}"
            yield f"{noun}{one}", f"{noun}{other}"


def plain(name: str) -> str:
    """A name as it is compared: `chosen-response` is `chosen_response`."""
    return name.strip().replace("-", "_").replace(" ", "_")


def found_pairs(columns: Sequence[str], wanted: Iterator[tuple[str, str]]) -> list[tuple[str, str]]:
    """Which pairs of names are there, both in one case: as they are known, Capitalised or in UPPER CASE."""
    there = {plain(column): column for column in reversed(columns)}
    found = [
        (there[case(one)], there[case(other)])
        for one, other in wanted
        for case in (str, str.capitalize, str.upper)
        if case(one) in there and case(other) in there
    ]
    return list(dict.fromkeys(found))


def found_names(columns: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Which columns have one of the names, in their order."""
    known = {case(name) for name in wanted for case in (str, str.capitalize, str.upper)}
    return [column for column in columns if plain(column) in known]
