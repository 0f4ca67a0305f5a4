"""What could not work in a later stage of a run, found in its settings before anything is done or imported."""

from dataclasses import replace
from pathlib import Path

from congrad.errors import UserError
from congrad.settings.consensus import Loss
from congrad.settings.input import Input
from congrad.settings.model import Model
from congrad.settings.tree import FilterConfig, RunConfig
from congrad.training.loss import advice, max_length, normalise, preference_loss

LOSSLESS = ("none", "random")


def check(config: RunConfig) -> None:
    """Finds, before anything is done, what could not work in a later stage: a `UserError` by its key."""
    if config.model.reference is not None:
        fix = "leave it out: a run's reference is rounds.reference, previous or initial"
        raise UserError("is not read by a loop", fix, key="model.reference")
    config.model.check_plain()
    if config.prompts.source is None and config.rounds.count > 1:
        raise UserError(
            "must be 1 without prompts.source, because later rounds answer its prompts",
            "set prompts.source, or set rounds.count to 1",
            key="rounds.count",
            value=config.rounds.count,
        )
    for key, engine in config.engines.items():
        engine.check_key(key)
    engine = config.generate.engine
    if config.rounds.count > 1 and engine.kind == "openai" and engine.model is not None and engine.command is None:
        raise UserError(
            "would answer in every round, but every round has a model of its own",
            "leave it out to ask for each round's model by its path, or set generate.engine.command, which starts "
            "the endpoint with it",
            key="generate.engine.model",
            value=engine.model,
        )
    if config.judge.kind == "implicit-reward" and config.prompts.pairs is None:
        raise UserError(
            "gives every answer of round 1 a reward of 0, as the model is its own reference there",
            "start from preference pairs (prompts.pairs), or set judge.kind to llm",
            key="judge.kind",
            value=config.judge.kind,
        )
    for method in config.filter.methods:
        filter_config(config, method, Path("pairs.jsonl"), config.model).check()
    if wants_held_out(config) and config.evaluate.pairs is None:
        fix = "set evaluate.pairs, or leave train.eval_strategy out"
        raise UserError("has no pairs to evaluate on", fix, key="train.eval_strategy")


def filter_config(config: RunConfig, method: str, pairs: Path, model: Model) -> FilterConfig:
    """The filter's configuration for a round's pairs at a model M_t.

    Length limit, loss and reference are those of the training that follows: what is scored is what is trained.
    """
    loss = Loss() if method in LOSSLESS else preference_loss(config.train, config.rounds)
    initial = config.model
    if config.rounds.reference == "initial" and initial != model:
        if initial.adapter is not None or initial.revision is not None:
            raise UserError(
                "is loaded by its name alone, without model.adapter and model.revision",
                "save M0 as a directory and name that",
                key="rounds.reference",
                value="initial",
            )
        model = replace(model, reference=initial.name)
    return FilterConfig(
        input=Input(str(pairs), max_length=max_length(config.train), bounds=config.prompts.bounds),
        model=model,
        index=replace(config.index, normalise=normalise(loss)),
        loss=loss,
        consensus=config.consensus,
        selection=config.selection,
        advice=advice(config.train, config.advice),
    )


def wants_held_out(config: RunConfig) -> bool:
    """Whether the trainer is to evaluate on `evaluate.pairs` on its way."""
    return bool(config.train.get("eval_strategy", "no") != "no")
