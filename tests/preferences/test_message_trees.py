"""Ranked answers in trees of messages, in any order of rows: who is paired, with which conversation, and who is not."""

import random
from time import perf_counter

from congrad.preferences.message_trees import MOST_TURNS, TreePair, pairs_of_trees


def message(name, parent, role, rank=None, **more):
    return {"message_id": name, "parent_id": parent, "role": role, "rank": rank, **more}


def reasons(left):
    return {number: why.reason for number, why in left.items()}


TREES = [
    row
    for language in ("de", "en", "zh")
    for row in (
        message(f"{language} q", None, "prompter"),
        message(f"{language} 1", f"{language} q", "assistant", 1.0),
        message(f"{language} 0", f"{language} q", "assistant", 0.0),
        message(f"{language} 2", f"{language} q", "assistant", 2.0),
        message(f"{language} qq", f"{language} 0", "prompter", 0),
        message(f"{language} 00", f"{language} qq", "assistant", 0),
        message(f"{language} 01", f"{language} qq", "assistant", 1),
    )
]


def test_three_languages_by_hand():
    pairs, left = pairs_of_trees(TREES)
    assert pairs == [
        pair for at in (0, 7, 14)
        for pair in (TreePair((at,), at + 2, at + 3), TreePair((at, at + 2, at + 4), at + 5, at + 6))
    ]  # fmt: skip
    between = "neither the best nor the worst response of its prompt"
    other, no = "the other response of a pair", "a message that is no response"
    assert reasons(left) == {
        at + row: why for at in (0, 7, 14) for row, why in {0: no, 1: between, 3: other, 4: no, 6: other}.items()
    }
    assert not any(why.is_bad for why in left.values())


def test_the_order_of_the_rows_does_not_matter():
    named = [
        [TREES[i]["message_id"] for i in (*pair.path, pair.better, pair.worse)] for pair in pairs_of_trees(TREES)[0]
    ]
    for seed in range(20):
        rows = random.Random(seed).sample(TREES, len(TREES))
        pairs, left = pairs_of_trees(rows)
        assert sorted([rows[i]["message_id"] for i in (*p.path, p.better, p.worse)] for p in pairs) == sorted(named)
        assert len(pairs) + len(left) == len(rows)


def test_names_that_are_numbers_with_gaps():
    rows = [message(1, float("nan"), "user"), message(2, 1.0, "assistant", 0), message(3, 1.0, "assistant", 1)]
    assert pairs_of_trees(rows)[0] == [TreePair((0,), 1, 2)]


def test_ties_single_answers_and_missing_ranks():
    rows = [message("q", None, "user"), message("a", "q", "assistant", 1), message("b", "q", "assistant", 1)]
    assert reasons(pairs_of_trees(rows)[1])[1] == "a tie"
    assert reasons(pairs_of_trees(rows[:2])[1])[1] == "a single response"
    rows = [message("q", None, "user"), message("a", "q", "assistant"), message("b", "q", "assistant", float("nan"))]
    assert reasons(pairs_of_trees(rows)[1])[2] == "fewer than two responses have scores"


def test_what_is_below_a_message_that_is_not_there_or_deleted_is_in_no_pair():
    answers = [message("a", "q", "assistant", 0), message("b", "q", "assistant", 1)]
    pairs, left = pairs_of_trees([message("q", "gone", "user"), *answers])
    assert not pairs
    assert left[1].reason == left[2].reason == "an answer to a message that is not there"
    assert "'gone'" in left[1].detail
    assert left[1].is_bad
    assert pairs_of_trees(answers)[1][0].reason == "an answer to a message that is not there"
    pairs, left = pairs_of_trees([message("q", None, "user", deleted=True), *answers])
    assert not pairs
    assert reasons(left)[1] == "an answer below a message that is left out"
    rows = [message("q", None, "user"), *answers, message("c", "q", "assistant", 2, spam=True)]
    pairs, left = pairs_of_trees(rows)
    assert pairs == [TreePair((0,), 1, 2)]
    assert left[3].reason == "a message that was deleted or is spam"


def test_messages_that_answer_each_other_and_names_that_are_there_twice():
    rows = [message("x", "y", "user"), message("y", "x", "user"), message("a", "x", "assistant", 0)]
    rows += [message("b", "x", "assistant", 1), message("b", "x", "assistant", 2), message(["c"], "x", "assistant", 0)]
    pairs, left = pairs_of_trees(rows)
    assert not pairs
    assert reasons(left)[2] == "a message without a root"
    assert reasons(left)[4] == "a message that is there twice"
    assert reasons(left)[5] == "a message without a name"


def test_a_long_chain_ends_in_time():
    rows = [message("0", None, "user")]
    for number in range(1, 20_000):
        rows.append(message(str(number), str(number - 1), "assistant" if number % 2 else "user", 0))
        rows.append(message(f"{number} other", str(number - 1), "assistant", 1))
    start = perf_counter()
    pairs, left = pairs_of_trees(rows)
    assert perf_counter() - start < 5
    assert max(len(pair.path) for pair in pairs) <= MOST_TURNS
    assert len(pairs) + len(left) == len(rows)
