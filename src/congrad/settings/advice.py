"""What the advice predicts, before any training, for which budget."""

from typing import Annotated

from annotated_types import Ge, Gt

from congrad.settings.section import Count, PathText, Seed, refused, section


@section("advice")
class Advice:
    """What filtering is predicted to do, and for which training."""

    epochs: Annotated[float, Gt(0)] = 1.0
    """Epochs of the training that the advice is for; a loop takes those of train."""
    batch_size: Count = 32
    """Pairs of one step of that training, on all devices together; a loop takes that of train."""
    steps: Count | None = None
    """Steps of that training in all, however many pairs are kept; null: as many as the epochs make. A loop takes
    max_steps of train."""
    num_folds: Annotated[int, Ge(4)] = 5
    """Folds of prompts; each is held out in turn, and two more within the others."""
    max_pairs: Count = 10_000
    """Of more pairs than this, the advice takes a sample by language."""
    num_resamples: Count = 1000
    """Draws of prompts for the intervals."""
    seed: Seed = 0
    """Seed of the folds, the sample and the draws."""
    watch: PathText | None = None
    """Pairs that are not trained on (other languages, a general set, labels from another source), read as input.source
    is: what every option is predicted to do to them. Clear harm to them decides against filtering."""

    def __post_init__(self) -> None:
        if self.watch is not None and not self.watch.strip():
            raise refused("watch", "is empty", "name a file, a folder or a hub id")
