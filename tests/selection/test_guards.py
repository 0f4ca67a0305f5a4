"""Warnings, word for word."""

import torch

from congrad.selection import guards


def test_nothing_to_say():
    language_P = torch.arange(40) % 2
    score_P = torch.linspace(-1, 1, 40)
    assert guards(["de", "sw"], language_P, score_P, score_P > 0, group_P=torch.arange(40)) == []


def test_too_few_pairs_and_none_kept():
    language_P = torch.tensor([0] * 25 + [1] * 3 + [2])
    score_P = torch.zeros(29)
    score_P[26] = torch.nan
    score_P[28] = torch.nan
    kept_P = language_P == 0
    assert guards(["de", "sw", "yo"], language_P, score_P, kept_P) == [
        "sw: none of its 3 pairs is kept",
        "yo: none of its 1 pair is kept",
        "fewer than 20 pairs, too few for a meaningful language gradient: sw (2), yo (0)",
    ]


def test_one_language():
    score_P = torch.zeros(20)
    assert guards(["de"], torch.zeros(20, dtype=torch.int64), score_P, score_P == 0) == [
        "de is the only language, so there is no conflict to remove"
    ]


def test_prompts_that_lose_all_their_pairs():
    # prompts of two pairs; 0, 2, 4, 5 and 6 lose both, the last pair is its prompt's only one
    language_P = torch.zeros(41, dtype=torch.int64)
    group_P = torch.arange(41) // 2
    kept_P = torch.ones(41, dtype=torch.bool)
    for prompt in (0, 2, 4, 5, 6, 20):
        kept_P[group_P == prompt] = False
    kept_P[14] = False
    row_P = torch.arange(41) + 100
    warnings = guards(["de", "sw"], language_P, torch.zeros(41), kept_P, group_P=group_P, row_P=row_P)
    assert warnings == [
        "de: 5 prompts with several pairs lose all of them (first at row 100, 104, 108, ...)",
        "fewer than 20 pairs, too few for a meaningful language gradient: sw (0)",
    ]


def test_one_lost_prompt_and_numbers_shared_between_languages():
    language_P = torch.tensor([0] * 22 + [1] * 22)
    group_P = torch.cat([torch.arange(22) // 2, torch.arange(22) // 2])
    kept_P = torch.ones(44, dtype=torch.bool)
    kept_P[24:26] = False  # prompt 1 of language 1; that of language 0 keeps both
    assert guards(["de", "sw"], language_P, torch.zeros(44), kept_P, group_P=group_P) == [
        "sw: 1 prompt with several pairs loses all of them (first at row 24)"
    ]
