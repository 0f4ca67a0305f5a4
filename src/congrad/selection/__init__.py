"""Selection: which rows to keep, why the others go, and what a person should be warned of."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # what is imported is in __init__.pyi
