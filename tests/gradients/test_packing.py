"""Packing: a worked example, and what holds for every pack of random pairs."""

import numpy as np
import pytest
import torch

from congrad.gradients.packing import Segment, num_packed_tokens, pack, trunk_length


def ids(*tokens):
    return np.array(tokens, dtype=np.int32)


def test_worked_example():
    """Prompt 1 2; chosen 3 4 5, rejected 3 6 (both start with 3); then prompt 7; chosen 8, rejected 9 10."""
    packed = pack([(ids(1, 2), ids(3, 4, 5), ids(3, 6)), (ids(7), ids(8), ids(9, 10))], "mean")
    #                                     trunk  | chosen | rejected
    assert packed.tokens_T.tolist() == [1, 2, 3, 4, 7, 9]  # 5, 6, 8 and 10 are only predicted
    assert packed.position_ids_T.tolist() == [0, 1, 2, 3, 0, 1]
    assert packed.segments == (Segment(0, 3, 4, 4), Segment(4, 5, 5, 6))
    predictions = zip(
        packed.positions_N.tolist(),
        packed.targets_N.tolist(),
        packed.pairs_N.tolist(),
        packed.sides_N2.tolist(),
        packed.coefficients_N.tolist(),
        strict=True,
    )
    third = torch.tensor(1 / 3).item()
    assert list(predictions) == [
        (1, 3, 0, [1, 1], pytest.approx(third - 0.5)),  # 3 after 1 2, for both sides
        (2, 4, 0, [1, 0], third),
        (3, 5, 0, [1, 0], third),
        (2, 6, 0, [0, 1], -0.5),
        (4, 8, 1, [1, 0], 1),
        (4, 9, 1, [0, 1], -0.5),
        (5, 10, 1, [0, 1], -0.5),
    ]


def test_sum_gives_every_token_its_side_and_nothing_to_the_shared_ones():
    packed = pack([(ids(1, 2), ids(3, 4, 5), ids(3, 6))], "sum")
    assert packed.coefficients_N.tolist() == [0, 1, 1, -1]


def test_trunk_ends_before_the_last_token_of_the_shorter_side():
    """A side's last token is never an input, so it cannot be in the trunk, even where the sides agree in it."""
    assert trunk_length(ids(1), ids(5, 6), ids(5, 6, 7)) == 2
    assert trunk_length(ids(1), ids(5), ids(5, 6, 7)) == 1
    assert trunk_length(ids(1), ids(5, 6, 7), ids(5, 6, 8)) == 3
    assert trunk_length(ids(1), ids(4, 6, 7), ids(5, 6, 7)) == 1


def random_triples(generator, count):
    """Few tokens, so that responses often agree."""
    for _ in range(count):
        lengths = generator.integers(1, 7, 3)
        yield tuple(generator.integers(0, 2, length).astype(np.int32) for length in lengths)


@pytest.mark.parametrize("seed", range(20))
def test_every_prediction_sees_its_own_context_and_no_other(seed):
    """Follow the packed tokens back from every prediction: they are the prompt and the response before it."""
    triples = list(random_triples(np.random.default_rng(seed), 5))
    packed = pack(triples, "sum")
    assert len(packed.tokens_T) == sum(num_packed_tokens(*triple) for triple in triples) == packed.segments[-1].end
    assert [s.start for s in packed.segments[1:]] == [s.end for s in packed.segments[:-1]]
    found = [([], []) for _ in triples]
    for position, target, pair, sides in zip(
        packed.positions_N.tolist(),
        packed.targets_N.tolist(),
        packed.pairs_N.tolist(),
        packed.sides_N2.tolist(),
        strict=True,
    ):
        segment = packed.segments[pair]
        assert segment.start <= position < segment.end
        on_rejected = position >= segment.turn
        places = [
            *range(segment.start, segment.fork),
            *range(segment.turn if on_rejected else segment.fork, position + 1),
        ]
        context = places if position >= segment.fork else list(range(segment.start, position + 1))
        assert packed.position_ids_T[context].tolist() == list(range(len(context)))
        for side in (0, 1):
            if sides[side]:
                found[pair][side].append((packed.tokens_T[context].tolist(), target))
    for (prompt, *responses), sides in zip(triples, found, strict=True):
        for response, predictions in zip(responses, sides, strict=True):
            whole = [*prompt.tolist(), *response.tolist()]
            assert predictions == [(whole[:end], whole[end]) for end in range(len(prompt), len(whole))]


@pytest.mark.parametrize("seed", range(5))
def test_coefficients_are_the_difference_of_sums_or_means(seed):
    triples = list(random_triples(np.random.default_rng(seed), 5))
    packed_sum, packed_mean = pack(triples, "sum"), pack(triples, "mean")
    assert packed_sum.coefficients_N.equal(packed_sum.sides_N2 @ torch.tensor([1.0, -1.0]))
    for index, (_, chosen, rejected) in enumerate(triples):
        of_pair = packed_mean.pairs_N == index
        assert packed_mean.sides_N2[of_pair].sum(0).tolist() == [len(chosen), len(rejected)]
        weights = torch.tensor([1 / len(chosen), -1 / len(rejected)])
        assert packed_mean.coefficients_N[of_pair].allclose(packed_mean.sides_N2[of_pair] @ weights, atol=1e-7)


def test_swapping_the_sides_negates_the_coefficients(varied_pairs):
    packed = pack(varied_pairs, "mean")
    swapped = pack([(prompt, rejected, chosen) for prompt, chosen, rejected in varied_pairs], "mean")
    assert packed.coefficients_N.sum().item() == pytest.approx(-swapped.coefficients_N.sum().item(), abs=1e-6)
    assert len(packed.tokens_T) == len(swapped.tokens_T)
