"""Consensus: from sketches of pair gradients to each pair's alignment with the direction the languages agree on."""

from congrad.consensus.buckets import Sketches
from congrad.consensus.languages import Agreement
from congrad.consensus.loss import LOSSES, Loss, margins, pair_weights
from congrad.consensus.score import Scores, score_pairs
from congrad.consensus.settings import Consensus
from congrad.consensus.surgery import AGGREGATORS, consensus_weights

__all__ = [
    "AGGREGATORS",
    "LOSSES",
    "Agreement",
    "Consensus",
    "Loss",
    "Scores",
    "Sketches",
    "consensus_weights",
    "margins",
    "pair_weights",
    "score_pairs",
]
