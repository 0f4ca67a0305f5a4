"""What is measured of a pair that is far longer than a pack."""

import numpy as np

from congrad.filtering.estimate import LONG, measure, tokens_of


def test_no_piece_of_a_very_long_pair_is_longer_than_the_limit():
    """However fast the first pieces are: memory grows by the square of their length."""
    ids = np.zeros(100_000, dtype=np.int64)
    sizes = []

    def run(some):
        sizes.append(tokens_of(some)[0])
        return sizes[-1], 1e-9

    points, whole = measure(run, [(ids, ids, ids)], [(ids, ids, ids)], most=LONG)
    assert not whole
    assert max(sizes) <= LONG
    assert len(points) > 2
    _, whole = measure(run, [(ids, ids, ids)], [(ids, ids, ids)])
    assert whole
