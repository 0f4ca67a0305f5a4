"""A file of what is done, a line of JSON each, that an interrupted program goes on from."""

import json
from pathlib import Path
from typing import Any

from bench.where import commit, processor

Row = dict[str, Any]


class Log:
    """The rows of a file, by their key; of two with one key the last."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self.path, lines = path, path.read_text("utf-8").splitlines()
        self.where = {"commit": commit(), "processor": processor()}  # now: the sources may change on the way
        self.rows: dict[str, Row] = {json.dumps(row["key"]): row for row in map(json.loads, lines)}

    def get(self, key: Row) -> Row | None:
        return self.rows.get(json.dumps(key))

    def add(self, key: Row, row: Row) -> Row:
        row = {"key": key, **row, **self.where}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.rows[json.dumps(key)] = row
        return row
