"""One pass over the model: pairs -> sketches of their gradients on disk (the gradient index)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # what is imported is in __init__.pyi
