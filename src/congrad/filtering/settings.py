"""All that decides a run of the filter."""

from dataclasses import dataclass, field

from congrad.consensus.settings import Consensus, Loss
from congrad.errors import UserError
from congrad.gradients.settings import PassSettings
from congrad.models.settings import Model, check_device, check_dtype
from congrad.selection.settings import DEFAULT_SELECTION, Selection


@dataclass(frozen=True)
class Input:
    """Where the pairs come from and how they become tokens."""

    source: str
    split: str = "train"
    language_column: str = "language"
    chat: bool = False
    max_length: int = 1024
    limit: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class FilterConfig:
    """All that decides a run. Without `model` the index must be there already."""

    input: Input
    model: Model
    index: PassSettings = field(default_factory=PassSettings)
    loss: Loss = field(default_factory=Loss)
    consensus: Consensus = field(default_factory=Consensus)
    selection: Selection = DEFAULT_SELECTION

    def check(self) -> None:
        """Finds, before anything is loaded, what could not work after the pass.

        Raises:
            UserError: the loss does not fit the normalisation, or a number is out of range.
        """
        check_dtype(self.model.dtype)
        check_device(self.model.device)
        self.loss.check_index(per_token=self.index.normalise == "mean")
        if self.input.max_length < 2:
            raise UserError(f"--max-length {self.input.max_length}: must be 2 or more")
        if self.input.limit is not None and self.input.limit < 1:
            raise UserError(f"--limit {self.input.limit}: must be 1 or more")
