"""The workers of an import, their chunks of clips, and the journal of finished shards."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from zsar_bench.catalogue.catalogue import Entry
from zsar_bench.catalogue.machine import Machine
from zsar_bench.common.code_digest import file_digest
from zsar_bench.common.events import Event
from zsar_bench.common.files import home, make_folder
from zsar_bench.common.hashing import digest
from zsar_bench.data.clips.import_answers import NOTE, named, take_shards
from zsar_bench.data.clips.import_job import Listed
from zsar_bench.data.clips.store import FORMAT, Dataset, open_dataset, prepared, unfinished_folder
from zsar_bench.errors import RunFailed, StorageError, UserError
from zsar_bench.sandbox.client import Worker, stop_all
from zsar_bench.sandbox.confinement.rules import below, real
from zsar_bench.sandbox.processes import free_memory
from zsar_bench.specs import generated

CHUNK = 64  #: clips handed to a worker at once, at most
MEMORY = 4 << 30  #: bytes that a worker of an import may use unless the user says otherwise
CHUNK_BYTES = 32 * 2**20  #: of their files, at most (one shard is never split)


def _chunks(todo: dict[str, list[Listed]], jobs: int) -> list[list[Listed]]:
    """Chunks of whole shards in the order of their files, so that archives are read forwards."""
    groups = sorted(todo.values(), key=lambda group: min((c.source, c.name) for c in group))
    most = max(1, min(CHUNK, sum(map(len, groups)) // (8 * jobs)))
    chunks: list[list[Listed]] = []
    size = 0
    for group in groups:
        bytes_ = sum(clip.size for clip in group)
        if not chunks or len(chunks[-1]) + len(group) > most or size + bytes_ > CHUNK_BYTES:
            chunks.append([])
            size = 0
        chunks[-1] += group
        size += bytes_
    return chunks


def _fitting(groups: dict[str, list[Listed]]) -> int:
    """How many workers have room, if each holds the largest container twice as it opens it."""
    sizes: dict[tuple[int, str], int] = {}
    for clip in chain.from_iterable(groups.values()):
        if clip.part >= 0:
            where = clip.source, clip.name
            sizes[where] = sizes.get(where, 0) + clip.size
    largest = max(sizes.values(), default=0)
    return max(1, free_memory() // (2 * largest)) if largest else sys.maxsize


class WorkerPool:
    """Parallel workers, each driven by a thread.

    Args:
        work, journal: the import and its finished shards.
        kept: clips of finished shards.
        total: clips in all.
    """

    def __init__(self, work: Work, journal: Journal, kept: int, total: int) -> None:
        self.work = work
        self.journal = journal
        self.step = kept
        self.total = total
        self.lock = threading.Lock()

    def run(self, groups: dict[str, list[Listed]], shards: Path) -> None:
        """Make these shards in the folder ``shards``."""
        chunks = _chunks(groups, self.work.jobs)
        todo = deque(chunks)
        self._advance(0)
        pool = ThreadPoolExecutor(self.work.jobs, thread_name_prefix="import")
        count = min(self.work.jobs, len(chunks), _fitting(groups))
        futures = [pool.submit(self._drive, n, todo, shards) for n in range(count)]
        try:
            for future in as_completed(futures):
                future.result()
        except (UserError, RunFailed):
            todo.clear()
            raise
        except BaseException:
            stop_all()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _drive(self, number: int, todo: deque[list[Listed]], shards: Path) -> None:
        folder = self.work.beside / f"worker-{number}"
        shutil.rmtree(folder, ignore_errors=True)  # of an import that was killed
        made = make_folder(folder / "shards")
        job = self.work.job("import", folder, folder=str(made))
        try:
            with Worker(job, folder, lambda event: self._advance(event["clips"])) as worker:
                worker.answer()
                while True:
                    try:
                        chunk = todo.popleft()
                    except IndexError:
                        return
                    answer = worker.ask({"clips": chunk})
                    with self.lock:
                        self.journal.add(take_shards(answer, chunk, made, shards))
        except RunFailed as error:
            raise named(error, folder) from None

    def _advance(self, clips: int) -> None:
        with self.lock:
            self.step += clips
            event = {"stage": self.work.stage, "step": self.step, "total": self.total}
            self.work.on_event(event)


Say = Callable[[str], None]


def _silent(message: str) -> None:
    """No messages."""


@dataclass(frozen=True)
class Work:
    """A prepared data set that is to be made.

    Attributes:
        entry: the data set.
        machine: has the plugin files.
        store: its name in the prepared store.
        sources: folders and zip archives with raw files; none for a generator.
        params: of the generator.
        jobs: workers at once.
        skip_bad: leave out what cannot be read, instead of refusing everything.
        on_event: gets ``{"stage": "import" or "generate", "step", "total"}``.
        say: gets sentences for the user.
    """

    entry: Entry
    machine: Machine
    store: str
    sources: tuple[Path, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    jobs: int = 1
    skip_bad: bool = False
    on_event: Event = lambda event: None
    say: Say = _silent

    @property
    def generated(self) -> bool:
        return generated(self.entry.spec)

    @cached_property
    def parts(self) -> dict[str, Dataset]:
        """The prepared data sets that it is pooled from.

        Raises:
            UserError: naming those that are not imported.
        """
        names = self.entry.spec.get("parts", ())
        missing = [name for name in names if name not in prepared()]
        if missing:
            commands = "; ".join(f"zsar-bench data import {name} PATH" for name in missing)
            raise UserError(
                f"'{self.entry.name}' is pooled from {', '.join(names)}; "
                f"not imported: {', '.join(missing)}.",
                f"Type: {commands}. How to get them: zsar-bench show {missing[0]}",
            )
        return {name: open_dataset(name) for name in names}

    @property
    def stage(self) -> str:
        return "generate" if self.generated else "import"

    @property
    def beside(self) -> Path:
        """Folder of the unfinished import."""
        return unfinished_folder(self.store)

    @property
    def places(self) -> list[str]:
        """The sources as a worker gets them."""
        return [str(path.expanduser().absolute()) for path in self.sources]

    def job(self, kind: str, workdir: Path, **rest: Any) -> dict[str, Any]:
        """A job for a worker, which may read the sources and write to ``workdir`` alone."""
        spec, parts = self.entry.spec, {n: str(p.folder) for n, p in self.parts.items()}
        reads = [spec["classes"], spec["layout"], *self.places, *parts.values()]
        # The sources are readable, even if they contain the store.
        protected = [str(home().absolute()), *self.machine.protected]
        given = [real(place) for place in self.places]
        job = self.machine.job(
            kind,
            self.entry,
            self.params,
            spec=spec,
            sources=self.places,
            parts=parts,
            reads=[path for path in reads if os.path.exists(path)],
            note=str(workdir / NOTE),
            **rest,
        )
        job["protected"] = [
            path for path in protected if not any(below(real(path), place) for place in given)
        ]
        job["limits"]["bytes"] = self.machine.memory or MEMORY
        return job | {"device": "cpu", "threads": 1}  # the same bytes whatever the machine


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
        rows = _read(self.path)
        self.earlier = len(rows)
        for row in rows.values():
            if self._holds(row):
                self.rows[row["shard"]] = row
        self._rewrite()

    def _holds(self, row: Row) -> bool:
        """Whether a row still describes its shard. Files that could not be read are tried again."""
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
        """Record finished shards."""
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
    """Finished shards as a line with a checksum."""
    return json.dumps([digest(rows), rows]) + "\n"


def _read(path: Path) -> dict[str, Row]:
    """Shard -> its last row; damaged lines are ignored."""
    rows_by_shard: dict[str, Row] = {}
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
            rows_by_shard |= {row["shard"]: row for row in rows}
    return rows_by_shard
