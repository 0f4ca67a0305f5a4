"""What all directories that are written share: how they begin, are filled and end (`directory`), and rows (`rows`).

A filter's run, a gradient index, an export and the stages and the run of a loop all keep to it.
"""

from congrad.stage.directory import (
    MANIFEST,
    NEW,
    STAGE,
    Kind,
    begin,
    check_can_be_made,
    check_same,
    finish,
    forget,
    forget_if_empty,
    holds_work,
    is_begun,
    is_finished,
    is_ours,
    make,
    read_json,
    staging,
    sweep,
)
from congrad.stage.rows import RowLog, content_key, file_fingerprint, read_rows, require_file, write_rows

__all__ = [
    "MANIFEST",
    "NEW",
    "STAGE",
    "Kind",
    "RowLog",
    "begin",
    "check_can_be_made",
    "check_same",
    "content_key",
    "file_fingerprint",
    "finish",
    "forget",
    "forget_if_empty",
    "holds_work",
    "is_begun",
    "is_finished",
    "is_ours",
    "make",
    "read_json",
    "read_rows",
    "require_file",
    "staging",
    "sweep",
    "write_rows",
]
