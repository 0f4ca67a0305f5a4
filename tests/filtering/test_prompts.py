"""Prompts that languages share: by a column, by ids, by lines; and what is no such thing."""

from types import SimpleNamespace

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch

from congrad.filtering.prompts import excess_within, find_prompts, joined
from congrad.preferences.prompt_ids import without_tag
from congrad.preferences.rows import Preferences, Source


def data(columns, languages, groups=None, sketches=None, num_rows=None):
    """Rows with these columns, and an index of all of them."""
    size = len(languages)
    dataset = datasets.Dataset.from_dict({"chosen": ["x"] * size} | columns)
    sources = (Source("pairs.jsonl", num_rows or size),)
    preferences = Preferences(dataset, "language", list(languages), list(range(size)), sources)
    sketches = torch.randn(size, 8, generator=torch.Generator().manual_seed(0)) if sketches is None else sketches

    class Index:
        pairs = pa.table({"language": list(languages), "group": list(range(size)) if groups is None else groups})
        positions_P = torch.arange(size)
        shape = tuple(sketches.shape)

        def __getitem__(self, rows):
            return sketches[rows]

    return preferences, Index()


def test_ids_without_the_language_s_own_tag():
    assert [without_tag(*each) for each in (("de-country-001", "de"), ("001_pt_BR", "pt-BR"), ("x/DE/7", "de"))] == [
        *("country-001", "001", "x-7")
    ]
    assert without_tag("decide-7", "de") == "decide-7", "a part of a word is no tag"
    assert without_tag("en-7", "de") == "en-7", "another language's tag stays"


def test_shared_ids_join_the_languages_and_the_line_says_so():
    ids = ["de-a-1", "de-a-2", "en-a-2", "en-a-1", "en-a-3"]
    found_N, line = find_prompts(*data({"id": ids}, ["de", "de", "en", "en", "en"]), None)
    assert found_N.tolist() == [0, 1, 1, 0, 2]
    assert line == "2 prompts are in several of the 2 languages (by the column 'id'); each is held out in all at once"
    assert found_N.dtype == torch.int64


def test_pairs_of_one_prompt_stay_together_and_join_what_any_of_them_joins():
    # rows 0 and 1 have one prompt in de; their ids lead to different rows of en
    ids = ["1a", "1b", "1a", "1b", "9"]
    found_N, _ = find_prompts(*data({"id": ids}, ["de", "de", "en", "en", "en"], groups=[0, 0, 1, 2, 3]), None)
    assert found_N.tolist() == [0, 0, 0, 0, 1]
    assert joined(np.array([5, 5, 7, 7, 8]), np.array([1, 2, 2, 3, 9])).tolist() == [0, 0, 0, 0, 1]


def test_a_column_that_is_named_counts_and_null_is_no_prompt():
    columns = {"id": ["1", "2", "1", "2"], "topic": ["x", None, None, "x"]}
    found_N, line = find_prompts(*data(columns, ["de", "de", "en", "en"]), "topic")
    assert found_N.tolist() == [0, 1, 2, 0]
    assert line.startswith("1 prompt is in several")
    assert find_prompts(*data({"topic": ["a", "b"]}, ["de", "en"]), "topic")[1] == "", "nothing shared"


@pytest.mark.parametrize("ids", [["web", "web", "web", "web"], [None] * 4, ["1", "2", "3", "4"]])
def test_what_tells_no_prompts_apart_or_is_not_shared_leaves_the_index_s_numbers(ids):
    found_N, line = find_prompts(*data({"id": ids}, ["de", "de", "en", "en"], groups=[3, 4, 5, 6]), None)
    assert found_N.tolist() == [3, 4, 5, 6]
    assert line == ""


def lines(within, languages=3, size=20, dims=100, seed=0):
    generator = torch.Generator().manual_seed(seed)
    own = torch.randn(languages, size, dims, generator=generator)
    return (1 - within) ** 0.5 * own + within**0.5 * torch.randn(size, dims, generator=generator)


def test_parallel_lines_are_found_by_their_sketches():
    names = [name for name in ("de", "en", "fr") for _ in range(20)]
    found_N, line = find_prompts(*data({}, names, sketches=lines(0.3).flatten(0, 1)), None)
    assert found_N.tolist() == list(range(20)) * 3
    assert line.startswith("20 prompts are in several of the 3 languages (line by line)")
    unlike = find_prompts(*data({}, names, sketches=lines(0.0).flatten(0, 1)), None)
    assert (unlike[0].tolist(), unlike[1]) == (list(range(60)), "")


def test_a_sample_and_languages_of_other_sizes_have_no_lines():
    names = [name for name in ("de", "en", "fr") for _ in range(20)]
    sketches = lines(0.9).flatten(0, 1)
    assert find_prompts(*data({}, names, sketches=sketches, num_rows=61), None)[1] == ""
    assert find_prompts(*data({}, names[:-1], sketches=sketches[:-1]), None)[1] == ""
    assert find_prompts(*data({}, ["de"] * 60, sketches=sketches), None)[1] == "", "one language"


def test_the_excess_is_that_of_a_naive_loop():
    unit_KLD = torch.nn.functional.normalize(lines(0.2, size=9, dims=5).transpose(0, 1), dim=-1)
    excess_K = []
    for k in range(9):
        others = [other for other in range(9) if other != k]
        pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
        within = sum(float(unit_KLD[k, a] @ unit_KLD[k, b]) for a, b in pairs)
        across = sum(float(unit_KLD[k, a] @ unit_KLD[other, b]) for other in others for a, b in pairs) / 8
        excess_K.append(within - across)
    expected = np.mean(excess_K) / (np.std(excess_K, ddof=1) / 3)
    assert excess_within(unit_KLD) == pytest.approx(expected, rel=1e-4)


def test_unrelated_lines_are_seldom_taken_for_parallel():
    t_R = [excess_within(lines(0.0, size=30, seed=seed).transpose(0, 1)) for seed in range(200)]
    assert sum(t > 2.0 for t in t_R) <= 0.05 * 200  # 2.7% are expected
    assert abs(np.mean(t_R)) < 0.3


def test_nothing_of_the_rows_is_needed_but_what_is_named():
    preferences, index = data({"id": ["1", "1"]}, ["de", "en"])
    only = SimpleNamespace(dataset=preferences.dataset, languages=preferences.languages)
    assert find_prompts(only, index, None)[0].tolist() == [0, 0]
