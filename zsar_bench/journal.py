"""What an unfinished import has done, so that the same command continues it.

    <home>/data/.<name>.import/journal.jsonl     one line a chunk of finished shards: [digest, rows]
    <home>/data/.<name>.import/store/            becomes <home>/data/<name> at the end

A finished shard is kept if its key is the one wanted now: it covers the files' names, sizes and
stamps (or the generator's parameters), the code that reads them, and how shards are written; and
if its bytes are those that were written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from zsar_bench.codehash import file_digest
from zsar_bench.datasets import FORMAT
from zsar_bench.errors import StorageError
from zsar_bench.identity import digest
from zsar_bench.import_job import Listed

Row = dict[str, Any]


def by_shard(clips: Iterable[Listed]) -> dict[str, list[Listed]]:
    """Clips in the store's order, shard by shard."""
    return {shard: list(group) for shard, group in groupby(clips, lambda clip: clip.shard)}


def shard_key(clips: list[Listed], code: str, params: Row, spec: Row) -> str:
    """Key of all that a shard's content depends on."""
    files = [(clip.id, clip.name, clip.size, clip.stamp, clip.part) for clip in clips]
    rules = [FORMAT, spec["bodies"], spec["min_frames"], code, params]
    return digest([files, rules])[:24]


class Journal:
    """Finished shards of one unfinished import.

    Args:
        folder: of the import; the caller holds its lock.
        keys: shard -> key wanted now.
    """

    def __init__(self, folder: Path, keys: dict[str, str]) -> None:
        self.path = folder / "journal.jsonl"
        self.shards = folder / "store" / "shards"
        self.keys = keys
        self.rows: dict[str, Row] = {}
        found = _read(self.path)
        self.found = len(found)
        for row in found.values():
            if self._holds(row):
                self.rows[row["shard"]] = row
        self._rewrite()

    def _holds(self, row: Row) -> bool:
        """Whether a row still says what is there. What could not be read is tried again."""
        if row["bad"] or self.keys.get(row["shard"]) != row["key"]:
            return False
        if not row["clips"]:
            return True
        try:
            return bool(file_digest(self.shards / row["shard"]) == row["sha256"])
        except OSError:
            return False

    def _rewrite(self) -> None:
        """Start from sound lines only; a killed import may have left half a line."""
        text = "".join(_line([row]) for row in self.rows.values())
        try:
            self.path.write_text(text, "utf-8")
        except OSError as error:
            raise StorageError(f"Cannot write {self.path}: {error.strerror or error}.") from None

    def add(self, rows: list[Row]) -> None:
        """Take down finished shards."""
        for row in rows:
            row["key"] = self.keys[row["shard"]]
            self.rows[row["shard"]] = row
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(rows))
        except OSError as error:
            raise StorageError(f"Cannot write {self.path}: {error.strerror or error}.") from None

    def clear_strays(self) -> None:
        """Remove all that is no finished shard from the folder of shards."""
        wanted = {shard for shard, row in self.rows.items() if row["clips"]}
        for path in self.shards.iterdir():
            if path.name not in wanted:
                path.unlink()


def _line(rows: list[Row]) -> str:
    """Finished shards as a line that tells whether it is whole."""
    return json.dumps([digest(rows), rows]) + "\n"


def _read(path: Path) -> dict[str, Row]:
    """Shard -> its last row; lines that are not as they were written are as good as none."""
    found: dict[str, Row] = {}
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    for line in lines:
        try:
            written, rows = json.loads(line)
            whole = digest(rows) == written
        except (ValueError, TypeError, RecursionError):
            continue
        if whole:
            found |= {row["shard"]: row for row in rows}
    return found
