"""`congrad generate`: prompts in, several answers to each out."""

from typing import Annotated

from congrad.cli.options import KeyValues, argument
from congrad.cli.stage_options import ConfigFile, ModelName, Output, Quiet, model_of, stage_screen, warn_if_slow


def generate_command(
    prompts: Annotated[str, argument("Prompts (a path, a hub id).")],
    output: Output,
    words: KeyValues = None,
    model: ModelName = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
) -> None:
    """Answer prompts, several times each. The first stage of a round.

    congrad generate prompts/ --model smollm2-135m --output answers generate.samples=4
    """
    from congrad.engines.open import tell_of_keys
    from congrad.settings.read import read
    from congrad.settings.selfreward import Generate, Prompts

    given = read(config, words or [], {"prompts.source": ("PROMPTS", prompts), "model.name": ("--model", model)})
    policy, settings, source = model_of(given), given.section(Generate), given.section(Prompts)
    with stage_screen("generate", output, given, quiet=quiet) as listener:
        from congrad.selfreward.prompts import load_prompts

        prompts_read = load_prompts(source)
        tell_of_keys(listener, {"generate.engine": settings.engine})
        listener.on_stage("starting PyTorch")
        from congrad.selfreward.generate import run_generate

        if settings.engine.kind == "transformers":
            warn_if_slow(policy, listener)
        run_generate(prompts_read, policy, settings, output, listener=listener)
