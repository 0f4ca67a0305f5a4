"""`congrad evaluate`: models in, one table out."""

from typing import Annotated

from congrad.cli.options import argument
from congrad.cli.stage_options import ConfigFile, Output, Quiet, model_of, stage_screen, warn_if_slow
from congrad.errors import UserError


def evaluate_command(
    words: Annotated[
        list[str],
        argument(
            "Models, NAME=MODEL, the one to compare with first; settings, evaluate.pairs=held-out/.",
            "MODEL... KEY=VALUE...",
        ),
    ],
    output: Output,
    config: ConfigFile = None,
    quiet: Quiet = False,
) -> None:
    """Measure models in the same way: preference accuracy, win rates, and the alignment tax, with intervals.

    congrad evaluate M0=gemma3-270m M1=m1/model --output table evaluate.pairs=held-out/
    """
    from congrad.engines.open import tell_of_keys
    from congrad.preferences.load import glance_at_pairs
    from congrad.settings.evaluation import Evaluate
    from congrad.settings.read import is_override, read

    named = [name_and_model(word) for word in words if not is_override(word)]
    if not named:
        raise UserError("no model to evaluate", "write NAME=MODEL, the one to compare with first")
    names = [name for name, _ in named]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise UserError(f"two models are named {name!r}", "write NAME=MODEL with a name of its own for each")
    overrides = [word for word in words if is_override(word)]
    given = read(config, overrides, {"model.name": ("MODEL", named[0][1])})
    first, settings = model_of(given), given.section(Evaluate)
    models = {names[0]: first} | {name: first.other(model) for name, model in named[1:]}
    with stage_screen("evaluate", output, given, quiet=quiet) as listener:
        settings.check()
        if settings.pairs is not None:
            glance_at_pairs(settings.pairs, settings.held_out)
        tell_of_keys(listener, settings.engines)
        listener.on_stage("starting PyTorch")
        from congrad.evaluation.run import run_evaluate

        warn_if_slow(first, listener)
        run_evaluate(models, settings, output, listener=listener)


def name_and_model(word: str) -> tuple[str, str]:
    name, sign, model = word.partition("=")
    return (name, model) if sign and name and model else (word, word)
