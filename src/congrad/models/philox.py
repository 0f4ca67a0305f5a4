"""Random bits that depend on nothing but a text: the same on every machine and device."""

import hashlib

import numpy as np


def stream(key: str) -> np.random.Philox:
    """The raw stream of Philox (Salmon et al. 2011), which numpy keeps stable, keyed by a hash of the text."""
    digest = hashlib.sha256(key.encode()).digest()
    return np.random.Philox(key=np.frombuffer(digest[:16], dtype="<u8"))
