"""Offline vLLM in a process of its own, whose GPU memory is free when it has ended: before training.

The protocol is JSON Lines. On standard input: `{"model": ..., "options": {...}, "requests": N}`, then N requests. On
standard output: lists of replies. Standard input stays open: the worker ends when it closes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from congrad.errors import UserError
from congrad.models.packaged import resolve
from congrad.selfreward.engines import vllm_worker
from congrad.selfreward.engines.interface import Reply, Request
from congrad.selfreward.engines.server import last_line
from congrad.settings.engine import Engine
from congrad.settings.model import Model


@contextmanager
def open_vllm(engine: Engine, model: Model, *, log: Path | None = None) -> Iterator["OfflineVLLM"]:
    """Nothing is started before requests come, so that a stage with none left to ask loads no model."""
    yield OfflineVLLM(engine, model, log)


class OfflineVLLM:
    """Starts a worker for a list of requests."""

    def __init__(self, engine: Engine, model: Model, log: Path | None) -> None:
        self.log = log
        self.job: dict[str, Any] = {
            "model": resolve(model.name),
            # Its own defaults, not the checkpoint's top-k and penalties: what is sampled is the model.
            "options": {
                "dtype": model.dtype,
                "revision": model.revision,
                "trust_remote_code": model.trust_remote_code,
                "generation_config": "vllm",
                **engine.options,
            },
        }

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[list[Reply]]:
        """As `OpenEngine.generate`."""
        todo = [request for request in requests if request.key not in done]
        if not todo:
            return
        with self.log.open("ab") if self.log else open(os.devnull, "ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-P", vllm_worker.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # it kills its group when its input closes
            )
        assert worker.stdin is not None
        assert worker.stdout is not None
        missing = len(todo)
        try:
            try:
                for item in (self.job | {"requests": len(todo)}, *map(asdict, todo)):
                    worker.stdin.write(json.dumps(item).encode() + b"\n")
                worker.stdin.flush()
            except BrokenPipeError:
                pass  # it has ended; its exit code says why
            for line in worker.stdout:
                replies = [Reply(**reply) for reply in json.loads(line)]
                missing -= len(replies)
                yield replies
                if not missing:
                    break  # what it started may hold its output open for longer
            if missing:
                raise self.failure(worker.wait())
        finally:
            for stream in (worker.stdin, worker.stdout):
                try:
                    stream.close()
                except BrokenPipeError:
                    continue
            worker.wait()

    def failure(self, code: int) -> UserError:
        if code == vllm_worker.NOT_INSTALLED:
            return UserError("an engine of kind vllm needs vLLM: pip install 'congrad[vllm]'")
        return UserError(
            f"vLLM ended with exit code {code}{last_line(self.log)}; mend engine.options or the model and give "
            "the same command again: what is done is safe"
        )
