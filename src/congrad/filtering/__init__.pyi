from .conclude import FilterResult as FilterResult
from .run import filter_preferences as filter_preferences
from .run import refilter as refilter
from .score import ScoredRows as ScoredRows
from .score import score as score
