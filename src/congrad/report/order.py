"""An order of the languages that puts similar ones side by side.

Shapes: L languages.
"""

import numpy as np

from congrad.filtering.comparison import Array


def similarity_order(cosine_LL: Array) -> Array:
    """The languages in an order that puts similar ones side by side (L).

    Spectral seriation (Atkins et al. 1998): by the eigenvector of the second smallest eigenvalue of the Laplacian of
    the similarities. Where nothing is known of two languages, they are taken as unrelated.
    """
    num_languages = len(cosine_LL)
    if num_languages < 3:
        return np.arange(num_languages)
    similarity_LL = np.nan_to_num(cosine_LL)
    similarity_LL = (similarity_LL + similarity_LL.T) / 2
    similarity_LL = similarity_LL - similarity_LL.min()
    np.fill_diagonal(similarity_LL, 0)
    laplacian_LL = np.diag(similarity_LL.sum(1)) - similarity_LL
    vector_L = np.linalg.eigh(laplacian_LL)[1][:, 1]
    # Its sign is free: the first name of all is in the first half. Rounding keeps ties in the order of the names.
    order_L = np.argsort(np.round(vector_L, 9), kind="stable")
    return order_L[::-1] if np.flatnonzero(order_L == 0)[0] > (num_languages - 1) / 2 else order_L
