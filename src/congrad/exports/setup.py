"""What of a run decides how to train on its pairs: the models, the loss and the kind of training.

Paths are absolute, since a trainer is started from the export's own directory.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from congrad.errors import UserError
from congrad.filtering.directory import RUN
from congrad.filtering.finished import Run
from congrad.settings.model import NewLora, TargetModules
from congrad.words import quote

# What the trainers know the packaged models by; the packages hold quantised copies of them.
HUB_IDS = {"gemma3-270m": "google/gemma-3-270m", "smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct"}
LONGEST_NAME = 4096  # a path's greatest length on Linux
ALL_LINEAR = "all-linear"


@dataclass(frozen=True)
class Lora:
    """An adapter that is trained in the place of the weights."""

    r: int = 16
    alpha: float = 32.0
    target_modules: TargetModules = ALL_LINEAR


@dataclass(frozen=True)
class Setup:
    """What of a run decides how to train on its pairs.

    Attributes:
        model: hub id or absolute directory.
        conversational: the pairs are conversations, which the trainer is to put through the chat template.
        loss, beta, label_smoothing, target_margin: as scored, see `congrad.consensus.Loss`.
        max_length: tokens of prompt and response together.
        revision: of the model on its hub.
        adapter: a LoRA adapter on the model, whose training goes on.
        reference: another model that the loss compares with; None for the policy as training begins.
        lora: train an adapter instead of all weights; None for all weights.
        quantise: how its weights were quantised, if they were.
        template: the trainer's own name of the chat template that prints what was scored; None where it reads that of
            the tokenizer, or has none that does.
        as_printed: the pairs are conversations that were put through the chat template by the export.
    """

    model: str
    conversational: bool
    loss: str
    beta: float
    label_smoothing: float | None
    target_margin: float | None
    max_length: int
    revision: str | None = None
    adapter: str | None = None
    reference: str | None = None
    lora: Lora | None = None
    quantise: str | None = None
    template: str | None = None
    as_printed: bool = False

    @property
    def templated(self) -> bool:
        """Whether the trainer puts the pairs through a chat template."""
        return self.conversational and not self.as_printed


def setup_of(run: Run, *, conversational: bool, lora: bool = False) -> Setup:
    """What of the run goes into scripts; a `UserError` where a model has a name that none can have.

    Args:
        lora: train an adapter, whatever the run was filtered for.
    """
    loss = run.settings.get("loss", {})
    model = run.settings.get("model", {})
    adapter, made = _name(run, model, "adapter"), model.get("lora")
    return Setup(
        model=_name(run, model, "name") or "MODEL",
        conversational=conversational,
        loss=loss.get("name", "dpo"),
        beta=loss.get("beta", 0.1),
        label_smoothing=loss.get("label_smoothing"),
        target_margin=loss.get("target_margin"),
        max_length=run.settings.get("input", {}).get("max_length", 1024),
        revision=_word(run, model, "revision"),
        quantise=_word(run, model, "quantise"),
        adapter=adapter,
        reference=_name(run, model, "reference"),
        lora=_lora(made if isinstance(made, dict) else {}) if lora or adapter is not None or made is not None else None,
    )


def _lora(stored: dict[str, Any]) -> Lora:
    default = NewLora()
    modules = stored.get("target_modules", default.target_modules)
    return Lora(
        r=stored.get("r", default.r),
        alpha=stored.get("alpha", default.alpha),
        target_modules=tuple(modules) if isinstance(modules, list | tuple) else str(modules),
    )


def _name(run: Run, stored: dict[str, Any], key: str) -> str | None:
    """A model's name as a trainer finds it from any directory."""
    name = _word(run, stored, key)
    if name is None:
        return None
    known = HUB_IDS.get(name, name)
    is_path = known.startswith((".", "~")) or Path(known).expanduser().is_dir()
    return str(Path(known).expanduser().absolute()) if is_path else known


def _word(run: Run, stored: dict[str, Any], key: str) -> str | None:
    value = stored.get(key)
    if value is None:
        return None
    text = str(value)
    if not text.isprintable() or len(text) > LONGEST_NAME:
        what = "its model" if key == "name" else f"its {key}"
        problem = f"the name of {what}, {quote(text)}, cannot be one"
        raise UserError(problem, "filter the data again", at=run.directory / RUN.last)
    return text
