"""Preference pairs: load and check a dataset, and turn its rows into the token ids that a DPO trainer would see."""

from congrad.preferences.load import load_preferences
from congrad.preferences.rows import Preferences, Source, sample
from congrad.preferences.tokenise import TokenisedPairs, tokenise

__all__ = ["Preferences", "Source", "TokenisedPairs", "load_preferences", "sample", "tokenise"]
