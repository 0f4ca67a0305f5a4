"""Consensus: from sketches of pair gradients to each pair's alignment with the direction the languages agree on."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # what is imported is in __init__.pyi
