"""Raw files, or a generator's clips, into the prepared store: on all cores, and resumable.

The parent splits the clips into chunks of whole shards and hands them to workers; it alone knows
the order, writes ``dataset.json`` and gives the finished folder its name. Neither the order nor
the bytes of the result depend on the number of workers or on interruptions.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zsar_bench.catalogue import Entry
from zsar_bench.datasets import (
    COLUMNS,
    FORMAT,
    Dataset,
    data_folder,
    open_dataset,
    prepared,
    read_classes,
    read_toml,
    remove,
    unfinished_folder,
)
from zsar_bench.environment import Machine, cores
from zsar_bench.errors import DataError, RunFailed, UserError
from zsar_bench.identity import digest
from zsar_bench.import_job import Listed
from zsar_bench.journal import Journal, by_shard, shard_key
from zsar_bench.paths import locked, make_folder, read_json, rename_folder, write_json
from zsar_bench.sandbox import Worker, run_job, stop_all

SHOWN = 5  #: bad files named in an error
CHUNK = 64  #: clips handed to a worker at once, at most
CHUNK_BYTES = 32 * 2**20  #: of their files, at most (one shard is never split)
FORETELL = (3.0, 60.0)  #: seconds after which an estimate is made, and from which on it is said

Event = Callable[[dict[str, Any]], None]
Say = Callable[[str], None]


def _silent(message: str) -> None:
    """Nobody reads along."""


@dataclass(frozen=True)
class Work:
    """One prepared data set to be made.

    Attributes:
        entry: the data set.
        machine: knows the plugin files.
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
        return bool(self.entry.spec["stand_in_for"])

    @property
    def stage(self) -> str:
        return "generate" if self.generated else "import"

    @property
    def beside(self) -> Path:
        """Folder of the unfinished import."""
        return unfinished_folder(self.store)

    def job(self, kind: str, **rest: Any) -> dict[str, Any]:
        sources = [str(path.expanduser().absolute()) for path in self.sources]
        job = self.machine.job(
            kind, self.entry, self.params, spec=self.entry.spec, sources=sources, **rest
        )
        return job | {"device": "cpu", "threads": 1}  # the same bytes whatever the machine


# --- The two ways in ---------------------------------------------------------------------------


def import_files(work: Work, replace: bool = False) -> Dataset:
    """Read raw files into the prepared store; continues what was interrupted.

    Raises:
        UserError: if the sources hold no clip of the data set.
        DataError: for files that cannot be read, with names and reasons. What was read is kept.
    """
    with locked(work.beside, lambda: work.say(f"{work.store} is being imported; waiting.")):
        if replace or work.store not in prepared():
            _make(work)
        else:  # somebody else was quicker
            _discard_if_empty(work.beside)
    return open_dataset(work.store)


def ensure_generated(
    entry: Entry,
    params: Mapping[str, Any],
    machine: Machine,
    on_event: Event,
    say: Say = _silent,
    jobs: int = 0,
    replace: bool = False,
) -> Dataset:
    """The data set that a generator makes with these parameters; made unless it is there.

    One that other code, classes or joints made is made again. Of several processes one makes it
    and the others wait.

    Args:
        entry: a data set that stands in for another.
        params: values that differ from the defaults, or all.
        machine: knows the plugin files.
        on_event: gets ``{"stage": "generate", "step": clips made, "total": clips in all}``.
        say: gets sentences for the user.
        jobs: workers at once; 0: one a core.
        replace: make it again in any case.
    """
    store = store_name(entry, params)
    values = _defaults(entry) | dict(params)
    work = Work(
        entry,
        machine,
        store,
        params=values,
        jobs=jobs or cores(),
        on_event=on_event,
        say=say,
    )
    if not replace and _current(work):
        return open_dataset(store)
    with locked(work.beside, lambda: say(f"{store} is being made; waiting.")):
        if replace or not _current(work):
            _make(work)
        else:
            _discard_if_empty(work.beside)
    return open_dataset(store)


def store_name(entry: Entry, params: Mapping[str, Any]) -> str:
    """Name in the store of a generated data set: ``name``, or ``name+key=value,...``.

    Only science parameters that differ from their defaults are named, sorted. What is too long
    or no file name is a digest instead.
    """
    changed = _changed(entry, params)
    if not changed:
        return entry.name
    variant = ",".join(f"{key}={_plain(value)}" for key, value in sorted(changed.items()))
    if len(variant) > 80 or not re.fullmatch(r"[A-Za-z0-9_.,=-]+", variant):
        variant = digest(changed)[:16]
    return f"{entry.name}+{variant}"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _defaults(entry: Entry) -> dict[str, Any]:
    fields: dict[str, Any] = entry.schema.get("properties", {})
    return {name: field.get("default") for name, field in fields.items()}


def _science(entry: Entry, params: Mapping[str, Any]) -> dict[str, Any]:
    fields = entry.schema.get("properties", {})
    return {n: v for n, v in params.items() if fields[n].get("kind", "science") == "science"}


def _changed(entry: Entry, params: Mapping[str, Any]) -> dict[str, Any]:
    defaults = _defaults(entry)
    return {n: v for n, v in _science(entry, params).items() if v != defaults[n]}


def _current(work: Work) -> bool:
    """Whether the store holds what this code and these parameters make."""
    if work.store not in prepared():
        return False
    about = read_json(data_folder() / work.store / "dataset.json")
    expected = {"format": FORMAT, **_origin(work), **_facts(work.entry)}
    return all(about.get(name) == value for name, value in expected.items())


def _origin(work: Work) -> dict[str, Any]:
    """Where a generated data set comes from; nothing for one that was read."""
    if not work.generated:
        return {}
    return {
        "stand_in_for": work.entry.spec["stand_in_for"],
        "params": _science(work.entry, work.params),
        "code": work.entry.digest,
    }


def _facts(entry: Entry) -> dict[str, Any]:
    """What the data set's own files say of its joints and classes."""
    return {
        "layout": read_toml(Path(entry.spec["layout"])),
        "classes": [vars(c) for c in read_classes(Path(entry.spec["classes"]))],
    }


# --- The way through ---------------------------------------------------------------------------


def _make(work: Work) -> None:
    """Make the data set; the caller holds the lock. A failure keeps the finished shards."""
    shards = make_folder(work.beside / "store" / "shards")
    try:
        out = work.beside / "listing.json"
        run_job(work.job("scan", out=str(out)), work.beside)
        listing = read_json(out)
        clips = [Listed(*row) for row in listing["clips"]]
        groups = by_shard(clips)
        code, spec = work.entry.digest, work.entry.spec
        science = _science(work.entry, work.params)
        keys = {s: shard_key(group, code, science, spec) for s, group in groups.items()}
        journal = Journal(work.beside, keys)
        _say_what_is_kept(work, journal)
        todo = {s: group for s, group in groups.items() if s not in journal.rows}
        kept = len(clips) - sum(map(len, todo.values()))
        _Crew(work, journal, kept, len(clips)).run(_chunks(todo, work.jobs), shards)
        about = _about(work, listing, groups, journal)
        write_json(work.beside / "store" / "dataset.json", about)
        journal.clear_strays()
    except BaseException:
        _discard_if_empty(work.beside)
        raise
    if work.store in prepared():
        remove(work.store)
    rename_folder(work.beside / "store", data_folder() / work.store)
    shutil.rmtree(work.beside)


def _discard_if_empty(beside: Path) -> None:
    """Leave nothing behind where nothing was achieved, by this import or an earlier one."""
    if not any((beside / "store" / "shards").glob("[!.]*")):
        shutil.rmtree(beside, ignore_errors=True)


def _say_what_is_kept(work: Work, journal: Journal) -> None:
    if not journal.found:
        return
    if journal.rows:
        work.say(
            f"Continuing an unfinished import: {len(journal.rows)} of {len(journal.keys)} "
            "parts are there."
        )
    else:
        work.say("An unfinished import is there, of other files or by other code: starting afresh.")


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


class _Crew:
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
        self.forecast = _Forecast(work)

    def run(self, chunks: list[list[Listed]], shards: Path) -> None:
        """Make these chunks' shards in the folder ``shards``."""
        todo = deque(chunks)
        self._advance(0)
        self.forecast.weight = sum(map(_weight, chunks))
        pool = ThreadPoolExecutor(self.work.jobs, thread_name_prefix="import")
        count = min(self.work.jobs, len(chunks))
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
        folder = make_folder(self.work.beside / f"worker-{number}")
        job = self.work.job("import", folder=str(shards))
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
                    self.journal.add(answer["shards"])
                    self.forecast.update(chunk, answer)

    def _advance(self, clips: int) -> None:
        with self.lock:
            self.step += clips
            event = {"stage": self.work.stage, "step": self.step, "total": self.total}
            self.work.on_event(event)


class _Forecast:
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


# --- The result --------------------------------------------------------------------------------


def _about(
    work: Work,
    listing: dict[str, Any],
    groups: dict[str, list[Listed]],
    journal: Journal,
) -> dict[str, Any]:
    """The content of ``dataset.json``, in the store's order."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    shards: dict[str, dict[str, Any]] = {}
    skipped = list(listing["skipped"])
    bad: list[dict[str, str]] = []
    for shard, clips in groups.items():
        row = journal.rows[shard]
        bad += row["bad"]
        skipped += row["bad"] + row["skipped"]
        frames = dict(row["clips"])
        start = 0
        for c in clips:
            if c.id in frames:
                values = (c.id, c.class_id, c.subject, c.camera, c.setup, shard, start)
                for column, value in zip(COLUMNS, (*values, frames[c.id]), strict=True):
                    columns[column].append(value)
                start += frames[c.id]
        if frames:
            shards[shard] = {"sha256": row["sha256"], "frames": row["frames"]}
    if bad and work.generated:
        raise RunFailed(f"{work.entry.name} made {bad[0]['file']}: {bad[0]['reason']}")
    if bad and not (work.skip_bad and columns["id"]):
        raise _refusal(bad, sum(map(len, groups.values())))
    return {
        "format": FORMAT,
        "name": work.store,
        "clips": columns,
        "shards": shards,
        "skipped": skipped,
        "aside": listing["aside"],
        "coverage": listing["coverage"],
        "expected_clips": work.entry.spec["clips"],
        **_origin(work),
        **_facts(work.entry),
    }


def _refusal(bad: list[dict[str, str]], total: int) -> DataError:
    lines = [f"  {b['file']}: {b['reason']}" for b in bad[:SHOWN]]
    more = [f"  and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
    count = f"{len(bad)} of {total} files"
    return DataError(
        "\n".join([f"{count} cannot be read; nothing was imported:", *lines, *more]),
        "Get these files again, or leave them out with --skip-bad. What was read is kept: "
        "either way the import goes on from here.",
    )
