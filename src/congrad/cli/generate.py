"""`congrad generate`: prompts in, several answers to each out."""

from typing import Annotated

import typer

from congrad.cli.stage_options import ConfigFile, ModelName, Output, Overrides, Quiet, stage_config, stage_screen


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
    from congrad.selfreward.generate import run_generate
    from congrad.selfreward.prompts import load_prompts

    given = {"prompts.source": prompts, "model.name": model}
    settings = stage_config(config, overrides, given, reads=("model", "prompts"))
    with stage_screen("generate", output, quiet=quiet) as on_progress:
        run_generate(load_prompts(settings.prompts), settings.model, settings.generate, output, listener=on_progress)
