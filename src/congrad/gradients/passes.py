"""The two passes behind one call, which takes pairs: the packed one, and the general one where that is the route."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from transformers import PreTrainedModel

from congrad.gradients.general import general_scorer, general_sketcher
from congrad.gradients.packing import Triple, pack
from congrad.gradients.sketch import PairSketches, scorer, sketcher
from congrad.settings.index import PassSettings, Route

Compute = Callable[[Sequence[Triple]], PairSketches]


@contextmanager
def pass_sketcher(model: PreTrainedModel, settings: PassSettings) -> Iterator[Compute]:
    """A function from pairs to their sketches, with settings that are resolved."""
    assert settings.projection_size is not None
    size, seed, layers, normalise = settings.projection_size, settings.seed, settings.layers, settings.normalise
    if settings.route == "general":
        with general_sketcher(model, size=size, seed=seed, layers=layers, normalise=normalise) as sketch:
            yield sketch
    else:
        with sketcher(model, size=size, seed=seed, layers=layers) as sketch_pack:
            yield lambda pairs: sketch_pack(pack(pairs, normalise))


@contextmanager
def pass_scorer(model: PreTrainedModel, route: Route) -> Iterator[Compute]:
    """A function from pairs to their summed log-probabilities."""
    if route == "general":
        with general_scorer(model) as score:
            yield score
    else:
        with scorer(model) as score_pack:
            yield lambda pairs: score_pack(pack(pairs, "sum"))
