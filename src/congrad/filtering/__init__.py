"""The filter: preference pairs and a model in, the pairs that the languages agree on out."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # what is imported is in __init__.pyi
