"""`congrad` that says when a stage of a round has made progress and then rests, to be killed there.

The first argument is `STAGE ROUND`; the others are congrad's.
"""

import sys
import time
from typing import Any

import congrad.loop.run
import congrad.report.display
from congrad.cli import main
from congrad.loop.plan import Step
from congrad.progress import Progress

stage_and_round = sys.argv.pop(1).split()
run_step = congrad.loop.run.run_step
current: list[Step] = []
BEFORE_WORK = ("reading the pairs", "tokenising")


def run_noted_step(config: Any, place: Any, step: Step, listener: Any) -> None:
    current.append(step)
    run_step(config, place, step, listener)


def rest(self: Any, progress: Progress) -> None:
    here = [current[-1].stage, str(current[-1].round)]
    if progress.done > 0 and progress.stage not in BEFORE_WORK and here == stage_and_round:
        print(f"{current[-1].stage} {progress.done} of {progress.total}", flush=True)
        time.sleep(120)


congrad.loop.run.run_step = run_noted_step
for shown in (congrad.report.display.Display, congrad.report.display.Lines):
    shown.progress = rest  # type: ignore[method-assign]
main()
