"""`congrad judge`: answers in, a score of each out."""

from pathlib import Path
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


def judge_command(
    generated: Annotated[Path, typer.Argument(help="Directory of `congrad generate`.", show_default=False)],
    output: Output,
    overrides: Overrides = None,
    model: ModelName = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
) -> None:
    """Score answers. The model that wrote them judges, unless --model or judge.model names another.

    congrad judge answers --output scores judge.samples=3
    """
    with stage_screen("judge", output, quiet=quiet) as listener:
        from congrad.selfreward.responses import finished

        if model is None and config is None:
            model = finished(generated, "generate")["model"]
        settings = stage_config(config, overrides, {"model.name": model}, reads=("model",), listener=listener)
        listener.on_stage("starting PyTorch")
        from congrad.selfreward.judge import run_judge

        engine = settings.generate.engine
        if (settings.judge.engine or engine).kind == "transformers":
            warn_if_slow(settings.model, listener)
        run_judge(generated, settings.model, settings.judge, output, engine=engine, listener=listener)
