"""What a machine refuses, in one line: a disk that is full or read-only, rights, quotas, limits of files, memory.

Libraries say it each in their own way: an `OSError`, one wrapped in an error of theirs (`datasets`), its number in a
text (Arrow, safetensors, tokenizers), an allocator's complaint (PyTorch). This is the one place that knows them.
"""

import errno
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from congrad.errors import UserError
from congrad.words import one_line, quote

NUMBERED = re.compile(r"(?i)\b(?:os error|errno):? (\d{1,5})\b")
OUT_OF_MEMORY = (
    *("DefaultCPUAllocator", "out of memory", "std::bad_alloc", "annot allocate memory", "failed to map segment"),
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
)
UNWRITTEN = ("PytorchStreamWriter failed", "iostream error", "inline_container")
"""What PyTorch says of a file that it cannot write, without a reason."""
OF_OURS = (errno.EBADF, errno.EFAULT, errno.EINVAL, errno.ENOTTY, errno.EPIPE)
"""What a system call says where the program has called it wrongly, or nobody reads what it writes."""

ANOTHER = "choose another directory"
FIXES = {
    errno.ENOSPC: f"free some space or {ANOTHER}",
    errno.EDQUOT: f"free some space of your quota or {ANOTHER}",
    errno.EROFS: ANOTHER,
    errno.EACCES: f"check its permissions or {ANOTHER}",
    errno.EPERM: f"check its permissions or {ANOTHER}",
    errno.EFBIG: f"raise the limit of the size of files (ulimit -f) or {ANOTHER}",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs, since the system has no more open files to give",
    errno.EAGAIN: "raise the limit of processes (ulimit -u), or close other programs",
    errno.EIO: "check the disk or the network drive",
    errno.ESTALE: "check the network drive, and run the same command again",
    errno.ENOENT: "check that it is still there, and run the same command again",
    errno.ENAMETOOLONG: "choose a shorter name",
}
CHECK = "check the path"
MEMORY_FIX = "lower index.token_budget or input.max_length, take a smaller model, or close other programs"


def refused(
    error: BaseException, *, at: object = None, doing: str = "cannot be used", another: str = ANOTHER
) -> UserError | None:
    """What to say of an error that the machine is the cause of; None where something else is.

    Args:
        at: the file or directory that was worked on; None for the one that the error names.
        doing: what failed, after the name of the place: "cannot write".
        another: how to do it elsewhere: "set HF_HOME to another directory".
    """
    if any(map(ran_out, chain_of(error))):
        return UserError("out of memory", MEMORY_FIX, at=at)
    for cause in chain_of(error):
        if isinstance(cause, RuntimeError) and any(sign in str(cause) for sign in UNWRITTEN):
            fix = FIXES[errno.ENOSPC].replace(ANOTHER, another)
            return UserError(f"cannot write ({one_line(cause, 100)})", fix, at=at)
        if (number := number_of(cause)) is None:
            continue
        reason, fix = getattr(cause, "strerror", None) or os.strerror(number), FIXES.get(number, CHECK)
        if at is None and (name := name_of(cause)) is not None:
            at, variable = quote(name, 200), cache_of(name)
            another = another if variable is None else f"set {variable} to another directory"
        if number == errno.ENOENT and "temporary directory" in reason:  # of `tempfile`
            fix = "set TMPDIR to a directory that can be written"
        what = f"{doing} ({one_line(reason)})"
        problem = what if at is not None else f"a file or the output {what}"
        return UserError(problem, fix.replace(ANOTHER, another), at=at)
    return None


def ran_out(error: BaseException) -> bool:
    """Whether an error says that there is too little memory: of a GPU, or of this machine."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM
    return is_of_a_library(error) and any(sign in str(error) for sign in OUT_OF_MEMORY)


def is_of_a_library(error: BaseException) -> bool:
    """Whether an error can be what a library makes of one of the system's, so that its text is the library's."""
    if isinstance(error, UserError):
        return False
    kinds = isinstance(error, OSError | RuntimeError | ImportError) or type(error) is Exception  # of Rust's extensions
    return kinds or type(error).__module__ != "builtins"


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it was raised from, but not what was only being handled meanwhile."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def number_of(error: BaseException) -> int | None:
    """The system's number of what it refused; None where the error is of another kind."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None and is_of_a_library(error) and (found := NUMBERED.search(str(error))) is not None:
        number = int(found[1])
    return None if number in OF_OURS or number not in errno.errorcode else number


def name_of(error: BaseException) -> str | None:
    """The file that an error names."""
    name = getattr(error, "filename", None)
    return os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else None


def cache_of(path: str) -> str | None:
    """The variable that moves the directory of a file that no option names; None where an option does."""
    for variable, directory in caches().items():
        if Path(path).is_relative_to(directory):
            return variable
    temporary = Path(tempfile.tempdir or "/")
    first = Path(path).relative_to(temporary).parts[:1] if Path(path).is_relative_to(temporary) else ()
    return "TMPDIR" if first and first[0].startswith(tempfile.gettempprefix()) else None


def caches() -> dict[str, Path]:
    """Where they are, by the variable that moves each; the narrower ones first."""
    general = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    of_hub = Path(os.environ.get("HF_HOME") or general / "huggingface")
    defaults = {
        "HF_DATASETS_CACHE": of_hub / "datasets",
        "HF_HUB_CACHE": of_hub / "hub",
        "HF_HOME": of_hub,
        "CONGRAD_CACHE": general / "congrad",
        "XDG_CACHE_HOME": general,
    }
    return {variable: Path(os.environ.get(variable) or default) for variable, default in defaults.items()}
