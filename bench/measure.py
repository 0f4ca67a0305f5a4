"""What is common to the contenders: arguments, loading, the clock and the memory of this process.

Memory is resident memory as Linux counts it (/proc/self/status). `baseline` is taken when the model is loaded and its
weights are private memory; the peak is reset there, so `beyond_weights` is what the work itself added at its highest.
"""

import argparse
import ctypes
import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from bench.workload import Workload

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Task:
    """What a contender is told on its command line."""

    model: str
    dtype: torch.dtype
    workload: Workload
    options: argparse.Namespace


def parse(parser: argparse.ArgumentParser) -> Task:
    """Read the arguments every contender has, and set the number of threads."""
    parser.add_argument("--model", required=True, help="directory of the model")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--workload", type=Path, required=True, help="JSON file written by bench.workload")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return Task(options.model, DTYPES[options.dtype], Workload.load(options.workload), options)


def load(task: Task) -> PreTrainedModel:
    """The model as transformers loads it by default, its weights in private memory and free of gradients."""
    model = AutoModelForCausalLM.from_pretrained(task.model, dtype=task.dtype)
    model.requires_grad_(False)
    return own(model.eval())


def own(model: PreTrainedModel) -> PreTrainedModel:
    """Copy weights that are mapped from the checkpoint: they would count as memory only once they are touched."""
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model


def weights_bytes(model: torch.nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def status_bytes(field: str) -> int:
    """A field of /proc/self/status, such as VmRSS (resident now) or VmHWM (its highest)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


class Memory:
    """Resident memory from here on: freed memory is handed back and the kernel's peak is reset."""

    def __init__(self) -> None:
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        self.baseline = status_bytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def report(self) -> dict[str, int]:
        peak = status_bytes("VmHWM")
        return {
            "baseline_rss_bytes": self.baseline,
            "peak_rss_bytes": peak,
            "beyond_weights_bytes": peak - self.baseline,
        }


@dataclass(frozen=True)
class Span:
    """Wall clock, and processor time of all threads: the second tells when other programs took the cores."""

    seconds: float
    cpu_seconds: float

    @staticmethod
    def now() -> "Span":
        return Span(time.perf_counter(), time.process_time())

    def __add__(self, other: "Span") -> "Span":
        return Span(self.seconds + other.seconds, self.cpu_seconds + other.cpu_seconds)

    def __sub__(self, other: "Span") -> "Span":
        return Span(self.seconds - other.seconds, self.cpu_seconds - other.cpu_seconds)


def timed(work: Callable[[], object]) -> Span:
    """The time one call takes."""
    start = Span.now()
    work()
    return Span.now() - start


def emit(task: Task, span: Span, model: torch.nn.Module, memory: Memory, **more: object) -> None:
    """The one line a contender prints; it is the last on standard output, whatever libraries printed before."""
    num_pairs = len(task.workload)
    result = {
        "seconds": span.seconds,
        "cpu_seconds": span.cpu_seconds,
        "pairs": num_pairs,
        "seconds_per_pair": span.seconds / num_pairs,
        "tokens": task.workload.num_tokens,
        "weights_bytes": weights_bytes(model),
        **memory.report(),
        **more,
    }
    sys.stdout.flush()
    print(json.dumps(result), flush=True)
