"""`congrad judge`: answers in, a score of each out."""

from pathlib import Path
from typing import Annotated

from congrad.cli.options import KeyValues, argument
from congrad.cli.stage_options import ConfigFile, ModelName, Output, Quiet, model_of, stage_screen, warn_if_slow
from congrad.errors import UserError


def judge_command(
    generated: Annotated[Path, argument("Directory of `congrad generate`.")],
    output: Output,
    words: KeyValues = None,
    model: ModelName = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
) -> None:
    """Score answers. The model that wrote them judges, unless --model or judge.model names another.

    congrad judge answers --output scores judge.samples=3
    """
    from congrad.engines.open import tell_of_keys
    from congrad.selfreward.responses import finished_generate
    from congrad.settings.read import read
    from congrad.settings.selfreward import Generate, Judge

    given = read(config, words or [], {"model.name": ("--model", model)})
    if not given.says("model.name"):
        if given.section_values("model").get("trust_remote_code") is True:
            with given.spelled():
                problem = "would trust a model that only the stage names"
                raise UserError(problem, "name it: --model", key="model.trust_remote_code", value="true")
        if (name := finished_generate(generated).get("model")) is not None:
            given.values.setdefault("model", {})["name"] = name
    policy, settings, engine = model_of(given), given.section(Judge), given.section(Generate).engine
    with stage_screen("judge", output, given, quiet=quiet) as listener:
        own = settings.engine
        tell_of_keys(listener, {"generate.engine": engine} if own is None else {"judge.engine": own})
        listener.on_stage("starting PyTorch")
        from congrad.selfreward.judge import run_judge

        if (own or engine).kind == "transformers":
            warn_if_slow(policy, listener)
        run_judge(generated, policy, settings, output, engine=engine, listener=listener)
