"""What a machine refuses, in whatever words a library says it, is one line with its place and what to do."""

import errno
import os

import pytest
import torch

from congrad.errors import UserError
from congrad.files import cannot_write
from congrad.machine import ran_out, refused


def wrapped(error: Exception) -> Exception:
    """As `datasets` raises it."""
    outer = RuntimeError("An error occurred while generating the dataset")
    outer.__cause__ = error
    return outer


REFUSED = {
    "full": (OSError(errno.ENOSPC, "No space left on device"), "a file or the output cannot be used (No space left"),
    "quota": (
        OSError(errno.EDQUOT, "Disk quota exceeded", "x"),
        "'x': cannot be used (Disk quota exceeded); free some",
    ),
    "read-only": (OSError(errno.EROFS, "Read-only file system", "x"), "'x': cannot be used (Read-only file system)"),
    "rights": (PermissionError(errno.EACCES, "Permission denied", "x"), "check its permissions"),
    "too many": (OSError(errno.EMFILE, "Too many open files", "x"), "raise the limit of open files (ulimit -n)"),
    "gone": (FileNotFoundError(errno.ENOENT, "No such file or directory", b"x\ny"), "check that it is still there"),
    "in another": (wrapped(OSError(errno.ENOSPC, "No space left on device", "x")), "'x': cannot be used (No space"),
    "Rust": (Exception("Error while serializing: I/O error: No space left on device (os error 28)"), "No space left"),
    "Arrow": (OSError("Error writing bytes to file. Detail: [errno 27] File too large"), "ulimit -f"),
    "PyTorch's file": (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), "free some"),
    "memory": (MemoryError(), "out of memory; lower index.token_budget or input.max_length"),
    "of Linux": (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory"),
    "of PyTorch": (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 bytes"), "out of memory"),
    "of a GPU": (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory"),
    "in another, of memory": (wrapped(MemoryError()), "out of memory"),
}


@pytest.mark.parametrize(("error", "said"), REFUSED.values(), ids=REFUSED)
def test_what_the_machine_refuses_is_one_line(error, said):
    found = refused(error)
    assert isinstance(found, UserError)
    assert said in str(found)
    assert str(found).isprintable()


OF_OURS = {
    "a bug": ZeroDivisionError("oh"),
    "a wrong descriptor": OSError(errno.EBADF, "Bad file descriptor"),
    "a data set's text": ValueError("the row says: (os error 28) out of memory"),
    "a mistake of the user's": UserError("out of memory (os error 28)"),
    "a library's": RuntimeError("shape mismatch"),
    "no number of the system's": RuntimeError("errno 99999"),
}


@pytest.mark.parametrize("error", OF_OURS.values(), ids=OF_OURS)
def test_what_the_machine_did_not_refuse_is_left(error):
    assert refused(error) is None


def test_what_was_only_being_handled_is_no_cause():
    try:
        try:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", "x")
        except FileNotFoundError:
            raise KeyError("a bug")  # noqa: B904
    except KeyError as error:
        assert refused(error) is None  # noqa: PT017


@pytest.mark.parametrize("variable", ["HF_DATASETS_CACHE", "HF_HUB_CACHE", "HF_HOME", "CONGRAD_CACHE"])
def test_a_cache_is_named_by_what_moves_it(variable, tmp_path, monkeypatch):
    monkeypatch.setenv(variable, str(tmp_path / "cache"))
    path = str(tmp_path / "cache" / "deep" / "x.lock")
    found = refused(OSError(errno.EROFS, os.strerror(errno.EROFS), path))
    assert f"set {variable} to another directory" in str(found)


def test_what_is_written_is_at_fault_unless_the_error_names_a_file_elsewhere(tmp_path):
    own, other = tmp_path / "out" / "x", tmp_path / "data" / "y"
    said = str(cannot_write(own, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    assert said == f"{own}: cannot write (No space left on device); free some space or choose another output directory"
    assert str(other) in str(cannot_write(own, OSError(errno.EIO, os.strerror(errno.EIO), str(other))))


def test_no_text_of_a_user_s_error_is_memory():
    assert not ran_out(UserError("out of memory"))
