"""`congrad env`: what a bug report needs to say of the machine, and nothing of who uses it.

No user or host name, no key, no path: a place is shown by what chose it. Nothing makes it fail; what cannot be found
out is said to be unknown.
"""

import functools
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator

PACKAGES = (
    *("congrad", "torch", "transformers", "datasets", "tokenizers", "safetensors", "pyarrow", "numpy", "peft"),
    *("accelerate", "trl", "torchjd", "gguf", "huggingface_hub", "typer", "rich"),
)
# Variables whose values say nothing of a person; of the others the output only says whether they are set.
TOLD = ("CONGRAD_BFLOAT16", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "WORLD_SIZE", "HF_HUB_OFFLINE")
ONLY_WHETHER = ("CONGRAD_CACHE", "HF_HOME", "HF_ENDPOINT", "HF_TOKEN", "HF_DATASETS_CACHE", "OPENAI_API_KEY")


def env_command() -> None:
    """Show versions, devices and memory, for a bug report: no name, no key, no path."""
    lines = list(facts())
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"{name:{width}}  {value}")


def facts() -> Iterator[tuple[str, str]]:
    """What is shown, as names and values, each on one line."""
    for name, find in (
        ("python", lambda: f"{platform.python_version()} ({platform.python_implementation()})"),
        ("platform", lambda: f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("processors", lambda: f"{_usable_processors()} usable of {os.cpu_count()}"),
        ("memory", lambda: f"{_gigabytes(_memory())} in all"),
        ("cache", _cache),
    ):
        yield name, _or_unknown(find)
    for package in PACKAGES:
        yield package, _or_unknown(functools.partial(_version, package))
    yield from _devices()
    for variable in (*TOLD, *ONLY_WHETHER):
        if variable in os.environ:
            yield variable, " ".join(os.environ[variable].split()) if variable in TOLD else "set"


def _or_unknown(find: Callable[[], str]) -> str:
    try:
        return find()
    except Exception as error:  # whatever is broken on the machine is what the report is about
        return f"unknown ({type(error).__name__})"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _usable_processors() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 0


def _memory() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _cache() -> str:
    from congrad.models.cache import cache_directory

    chosen = "CONGRAD_CACHE" if os.environ.get("CONGRAD_CACHE") else "the default"
    directory = cache_directory()
    there = next(path for path in (directory, *directory.parents) if path.exists())
    state = "writable" if os.access(there, os.W_OK) else "not writable"
    return f"at {chosen}, {state}, {_gigabytes(shutil.disk_usage(there).free)} free"


def _bfloat16() -> str:
    import torch

    from congrad.models.precision import Shape, figure, times_as_fast

    ratio = times_as_fast("bfloat16", torch.device("cpu"), Shape(inputs=1024, outputs=2048), torch.get_num_threads())
    return f"{figure(ratio)} times the speed of float32 in matrix products ({torch.backends.cpu.get_cpu_capability()})"


def _devices() -> Iterator[tuple[str, str]]:
    """How fast bfloat16 is here, CUDA's version and every GPU with its memory, or that there is none."""
    yield "bfloat16", _or_unknown(_bfloat16)
    try:
        import torch

        from congrad.models.device import is_available

        for kind in ("xpu", "mps"):
            if is_available(kind):
                yield kind, "there"
        if not torch.cuda.is_available():
            yield "cuda", f"no device (built for {torch.version.cuda or 'none'})"
            return
        yield "cuda", f"{torch.version.cuda}, {torch.cuda.device_count()} devices"
        for number in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(number)
            yield f"cuda:{number}", f"{found.name}, {_gigabytes(found.total_memory)}"
    except Exception as error:  # a broken driver or a broken install
        yield "cuda", f"unknown ({type(error).__name__})"
