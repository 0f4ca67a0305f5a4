"""A prompt lies in one fold in all languages at once; folds and samples have their part of every language."""

import torch

from congrad.advice.folds import deal, sample


def test_a_prompt_is_in_one_fold_in_every_language():
    group_P = torch.arange(40).repeat(3)
    fold_P = deal(group_P, 5, seed=1)
    for group in range(40):
        assert len(fold_P[group_P == group].unique()) == 1
    assert torch.bincount(fold_P).tolist() == [24] * 5
    assert torch.equal(fold_P, deal(group_P, 5, seed=1))
    assert not torch.equal(fold_P, deal(group_P, 5, seed=2))


def test_prompts_of_one_language_are_dealt_evenly():
    language_P = torch.tensor([0] * 50 + [1] * 5 + [2] * 10)
    fold_P = deal(torch.arange(65), 5, seed=0, language_P=language_P)
    for language, each in ((0, 10), (1, 1), (2, 2)):
        assert torch.bincount(fold_P[language_P == language], minlength=5).tolist() == [each] * 5


def test_a_sample_takes_whole_prompts_evenly():
    language_P, group_P = torch.arange(4).repeat_interleave(100), torch.arange(200).repeat_interleave(2)
    taken_P = sample(group_P, 100, seed=0, language_P=language_P)
    assert taken_P.sum() == 100
    assert torch.bincount(language_P[taken_P]).sub(25).abs().max() <= 1
    assert torch.equal(taken_P[::2], taken_P[1::2])
