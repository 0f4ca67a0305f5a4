from .buckets import Sketches as Sketches
from .languages import Agreement as Agreement
from .loss import margins as margins
from .loss import pair_weights as pair_weights
from .score import Scores as Scores
from .score import score_pairs as score_pairs
from .surgery import consensus_weights as consensus_weights
