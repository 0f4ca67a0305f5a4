from .load import load_preferences as load_preferences
from .rows import Preferences as Preferences
from .rows import sample as sample
from .tokenise import TokenisedPairs as TokenisedPairs
from .tokenise import tokenise as tokenise
