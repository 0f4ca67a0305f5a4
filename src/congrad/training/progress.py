"""What the trainer reports on its way: the log on the disk, and the listener."""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from congrad.progress import Listener, Progress
from congrad.stage import write_rows


class StageCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy
    """Keeps `log.jsonl` equal to the trainer's history, which its checkpoints hold too, and counts the steps."""

    def __init__(self, log: Path, listener: Listener) -> None:
        self.log, self.listener = log, listener

    def on_log(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if state.is_world_process_zero:
            write_rows(self.log, state.log_history)

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if state.is_world_process_zero:
            self.listener.on_progress(Progress("training", state.global_step, state.max_steps, "steps"))
