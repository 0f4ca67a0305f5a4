"""`congrad` that says when a stage of a round has made progress and then rests, to be killed there.

The first argument is `STAGE ROUND`; the others are congrad's.
"""

import sys
import time
from typing import Any

import congrad.loop.run
import congrad.report.loop
from congrad.cli import main
from congrad.loop.plan import Step

stage_and_round = sys.argv.pop(1).split()
run_step = congrad.loop.run.run_step
current: list[Step] = []


def run_noted_step(config: Any, place: Any, step: Step, listener: Any) -> None:
    current.append(step)
    run_step(config, place, step, listener)


def rest(self: Any, stage: str, done: int, total: int) -> None:
    if done > 0 and [current[-1].stage, str(current[-1].round)] == stage_and_round:
        print(f"{stage} {done} of {total}", flush=True)
        time.sleep(120)


congrad.loop.run.run_step = run_noted_step
congrad.report.loop.Bar.update = rest  # type: ignore[method-assign]
main()
