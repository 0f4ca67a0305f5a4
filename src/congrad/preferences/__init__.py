"""Preference pairs: load and check a dataset, and turn its rows into the token ids that a DPO trainer would see."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
