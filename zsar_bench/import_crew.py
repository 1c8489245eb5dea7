"""The workers of an import: who does what, how far they are, and how long it will take."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.errors import RunFailed, UserError
from zsar_bench.import_answers import named, take_shards
from zsar_bench.import_job import Listed
from zsar_bench.journal import Journal
from zsar_bench.paths import make_folder
from zsar_bench.processes import free_memory
from zsar_bench.sandbox import Worker, stop_all

if TYPE_CHECKING:
    from zsar_bench.importer import Work

CHUNK = 64  #: clips handed to a worker at once, at most
CHUNK_BYTES = 32 * 2**20  #: of their files, at most (one shard is never split)
FORETELL = (3.0, 60.0)  #: seconds after which an estimate is made, and from which on it is said


def _chunks(todo: dict[str, list[Listed]], jobs: int) -> list[list[Listed]]:
    """Whole shards together, in the order of their files: so archives are read forwards."""
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


class Crew:
    """Workers that read at once, each driven by a thread.

    Args:
        work, journal: what is made, and what is done of it.
        kept: clips that are there already.
        total: clips in all.
    """

    def __init__(self, work: Work, journal: Journal, kept: int, total: int) -> None:
        self.work = work
        self.journal = journal
        self.step = kept
        self.total = total
        self.lock = threading.Lock()
        self.forecast = Forecast(work)

    def run(self, groups: dict[str, list[Listed]], shards: Path) -> None:
        """Make these shards in the folder ``shards``."""
        chunks = _chunks(groups, self.work.jobs)
        todo = deque(chunks)
        self._advance(0)
        self.forecast.weight = sum(map(_weight, chunks))
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
                self.forecast.start()
                while True:
                    try:
                        chunk = todo.popleft()
                    except IndexError:
                        return
                    answer = worker.ask({"clips": chunk})
                    with self.lock:
                        self.journal.add(take_shards(answer, chunk, made, shards))
                        self.forecast.update(chunk, answer)
        except RunFailed as error:
            raise named(error, folder) from None

    def _advance(self, clips: int) -> None:
        with self.lock:
            self.step += clips
            event = {"stage": self.work.stage, "step": self.step, "total": self.total}
            self.work.on_event(event)


class Forecast:
    """Says once how long a long import takes and what it needs, from its first chunks."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.said = False
        self.weight = self.done = self.bytes = self.memory = 0
        self.started = 0.0

    def start(self) -> None:
        """A worker begins; the first one's start counts."""
        self.started = self.started or time.monotonic()

    def update(self, chunk: list[Listed], answer: dict[str, Any]) -> None:
        """Take note of a finished chunk."""
        self.done += _weight(chunk)
        self.bytes += sum(row.get("bytes", 0) for row in answer["shards"])
        self.memory = max(self.memory, answer["memory"])
        elapsed = time.monotonic() - self.started
        if self.said or elapsed < FORETELL[0]:
            return
        self.said = True
        seconds = elapsed * self.weight / self.done
        if seconds < FORETELL[1]:
            return
        need = self.bytes * self.weight / self.done
        free = shutil.disk_usage(self.work.beside).free
        self.work.say(
            f"This takes about {seconds / 60:.0f} minutes with {self.work.jobs} worker(s), "
            f"{need / 1e9:.1f} GB of disk ({free / 1e9:.1f} GB free) and "
            f"{self.work.jobs * self.memory / 1e9:.1f} GB of memory."
        )


def _weight(chunk: list[Listed]) -> int:
    """How much work a chunk is: bytes to read, or clips to generate."""
    return sum(clip.size or 1 for clip in chunk)
