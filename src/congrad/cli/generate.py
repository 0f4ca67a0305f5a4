"""`congrad generate`: prompts in, several answers to each out."""

from typing import Annotated

import typer

from congrad.cli.stage_options import (
    ConfigFile,
    ModelName,
    Output,
    Overrides,
    Quiet,
    stage_config,
    stage_screen,
    warn_if_slow,
)


def generate_command(
    prompts: Annotated[
        str,
        typer.Argument(help="Prompts (a path, a hub id)."),
    ],
    output: Output,
    overrides: Overrides = None,
    model: ModelName = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
) -> None:
    """Answer prompts, several times each. The first stage of a round.

    congrad generate prompts/ --model smollm2-135m --output answers generate.samples=4
    """
    given = {"prompts.source": prompts, "model.name": model}
    with stage_screen("generate", output, quiet=quiet) as listener:
        settings = stage_config(config, overrides, given, reads=("model", "prompts"), listener=listener)
        from congrad.selfreward.generate import run_generate
        from congrad.selfreward.prompts import load_prompts

        prompts_read = load_prompts(settings.prompts)
        listener.on_stage("starting PyTorch")
        if settings.generate.engine.kind == "transformers":
            warn_if_slow(settings.model, listener)
        run_generate(prompts_read, settings.model, settings.generate, output, listener=listener)
