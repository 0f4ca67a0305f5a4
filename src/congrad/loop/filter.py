"""The stage `filter` of a round: the filter of `congrad filter`, or a baseline, at the round's model.

Length limit, loss and reference are those of the training that follows, taken from `train` and `rounds`: what is scored
is what is trained.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from congrad.consensus.settings import Loss
from congrad.errors import UserError
from congrad.filtering.baselines import Baseline, filter_baseline
from congrad.filtering.run import filter_preferences
from congrad.filtering.settings import FilterConfig, Input
from congrad.gradients.index import is_built as is_finished
from congrad.gradients.index import open_index
from congrad.loop.config import RunConfig
from congrad.models.settings import Model
from congrad.progress import Listener
from congrad.training.settings import Rounds

DEFAULT_MAX_LENGTH = 1024  # TRL's
NO_LIMIT = 2**31
LOSSLESS = ("none", "random")
LOSS_OF = {"sigmoid": "dpo", "hinge": "hinge", "robust": "robust", "ipo": "ipo"}  # TRL's names and the filter's
UNSCORED = ("sft",)  # terms beside the preference loss, which say nothing about a preference
OTHER_LOSSES = {"ld_alpha": None, "use_weighting": False, "f_divergence_type": "reverse_kl"}


def preference_loss(train: dict[str, Any], rounds: Rounds) -> Loss:
    """The loss that `train` and `rounds` say, as the filter knows it.

    Raises:
        UserError: the filter does not know it.
    """
    given = train.get("loss_type", "sigmoid")
    names = [name for name in ([given] if isinstance(given, str) else given) if name not in UNSCORED]
    mend = "choose another, or use other filter.methods"
    if len(names) != 1 or names[0] not in LOSS_OF:
        raise UserError(
            f"train.loss_type {' + '.join(names) or given}: the filter scores one of {', '.join(LOSS_OF)}; {mend}"
        )
    for key, default in OTHER_LOSSES.items():
        if train.get(key, default) != default:
            raise UserError(f"train.{key} {train[key]}: the filter does not score with it; leave it out, or {mend}")
    name, beta = LOSS_OF[names[0]], float(train.get("beta", 0.1))
    if rounds.length_penalty:
        if name != "dpo":
            raise UserError(f"rounds.length_penalty: the filter scores it with train.loss_type sigmoid only; {mend}")
        return Loss("lp-dpo", beta, length_penalty=rounds.length_penalty)
    if name == "robust":
        return Loss(name, beta, label_smoothing=float(train.get("label_smoothing", 0.0)))
    return Loss(name, beta)


def max_length(train: dict[str, Any]) -> int:
    """Tokens of prompt and response that the trainer keeps."""
    limit = train.get("max_length", DEFAULT_MAX_LENGTH)
    return NO_LIMIT if limit is None else int(limit)


def filter_config(config: RunConfig, method: str, pairs: Path, model: Model) -> FilterConfig:
    """The filter's configuration for a round's pairs.

    Args:
        method: `none` and `random` know no loss.
        model: M_t. M_0 is its reference where `rounds.reference` says so and M_t is another.

    Raises:
        UserError: a number is out of range, or the loss is not known to the filter.
    """
    loss = Loss() if method in LOSSLESS else preference_loss(config.train, config.rounds)
    initial = config.model
    if config.rounds.reference == "initial" and initial != model:
        if initial.adapter is not None or initial.revision is not None:
            raise UserError(
                "rounds.reference initial: the filter loads a reference by its name alone, without model.adapter and "
                "model.revision; save M0 as a directory and name that"
            )
        model = replace(model, reference=initial.name)
    return FilterConfig(
        input=Input(str(pairs), max_length=max_length(config.train)),
        model=model,
        index=config.filter.index("mean" if loss.name == "ipo" else "sum"),
        loss=loss,
        consensus=config.filter.consensus(),
        selection=config.filter.selection(),
    )


def filter_round(
    config: RunConfig,
    method: str,
    pairs: Path,
    model: Model,
    output: Path,
    *,
    index: Path | None,
    listener: Listener,
) -> None:
    """Filters a round's pairs into a run directory as `congrad filter` writes it; returns at once where that is done.

    Args:
        method: one of `filter_settings.METHODS`.
        model: M_t.
        index: of the same pairs at the same model, where another arm has built one: its log-probabilities are taken.

    Raises:
        UserError: as `filter_preferences` and `filter_baseline`.
    """
    wanted = filter_config(config, method, pairs, model)
    if method == "congrad":
        if not (output / "manifest.json").is_file():
            filter_preferences(wanted, output, settled=True, listener=listener)
        return
    baseline = Baseline(
        method=cast("Any", method), selection=config.filter.selection(), loss=wanted.loss, seed=config.filter.seed
    )
    shared = open_index(index) if index is not None and is_finished(index) else None
    filter_baseline(baseline, wanted.input, wanted.model, output, index=shared, listener=listener)
