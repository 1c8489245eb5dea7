"""A process that reads some inputs of a target, with limits; ``campaign`` starts it.

    python -m benchmarks.fuzz.child FOLDER '{"target": ..., "first": ..., "stop": ..., ...}'

It says how far it is in ``FOLDER/progress``, which outlives it, and tells of faults in
``FOLDER/faults.jsonl``. What it reads may only touch ``FOLDER/work``.
"""

from __future__ import annotations

import faulthandler
import json
import mmap
import os
import resource
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.fuzz.attempt import ACCEPTED, REFUSED, SECONDS, SLOW, Escaped, attempt, watched
from benchmarks.fuzz.mutate import made
from benchmarks.fuzz.registry import find

MEMORY = 1536 << 20  #: bytes of address space
FILE = 64 << 20  #: bytes of the largest file that may be written
GROWTH = 256 << 10  #: KiB that one input may add to the most memory in use
TOLD = 100  #: faults that are described, of one process

_PROGRESS = struct.Struct("<6Qd")


class Progress(NamedTuple):
    """Where a child is: all but ``number`` are counts since it started.

    Attributes:
        number: of the input that it reads, or read last.
        accepted, refused, foreign, slow: how readings ended.
        memory: the most that was in use, in KiB.
        seconds: of processor time.
    """

    number: int = 0
    accepted: int = 0
    refused: int = 0
    foreign: int = 0
    slow: int = 0
    memory: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, data: bytes) -> Progress:
        return cls(*_PROGRESS.unpack(data))

    @property
    def ended(self) -> int:
        """Inputs whose reading came to an end."""
        return self.accepted + self.refused + self.foreign + self.slow


def limit(seconds: int) -> None:
    """Take away memory, time, large files and dumps; for good."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = ("os.", "shutil.", "socket.", "subprocess.", "ctypes.", "tempfile.", "webbrowser.")
_HARMLESS = {"os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.getxattr", "os.putenv"}


class Guard:
    """Ends a reading that opens files elsewhere, changes any, or runs what a pickle names.

    Args:
        work: the folder that may be read and written.
    """

    def __init__(self, work: Path) -> None:
        self.on = False
        self.work = f"{work}{os.sep}"
        places = [p for p in (*sys.path, sys.prefix, sys.base_prefix) if p]
        self.readable = tuple(os.path.realpath(p) for p in places)
        sys.addaudithook(self.report)

    def report(self, event: str, about: tuple[Any, ...]) -> None:
        """An audit event of Python."""
        if not self.on:
            return
        if event == "open" and isinstance(about[0], str | bytes):
            path = os.path.realpath(os.fsdecode(about[0]))
            writes = bool(about[2] & _WRITING)
            if path.startswith(self.work) or (path.startswith(self.readable) and not writes):
                return
            raise Escaped(f"it opens {path[:200]}{' to write' * writes}")
        if event == "pickle.find_class" or (event.startswith(_CHANGES) and event not in _HARMLESS):
            raise Escaped(f"{event}{str(about)[:200]}")


def run(job: dict[str, Any], folder: Path, guard: Guard | None = None) -> Progress:
    """Read the inputs ``first`` to ``stop`` of a target, or until it is too late.

    Args:
        job: ``target``, ``first``, ``stop``, ``campaign`` (the seed), ``until`` (the time).
        folder: for progress, faults and what the parser may write.
        guard: what to switch on while the parser runs.
    """
    work = folder / "work"
    work.mkdir(exist_ok=True)
    seeds, read, confined = find(job["target"])(work)
    guarded = read if guard is None else _guarded(read, guard)
    counts = {ACCEPTED: 0, REFUSED: 0, "foreign": 0, SLOW: 0}
    path = folder / "progress"
    path.write_bytes(bytes(_PROGRESS.size))
    with (
        path.open("r+b") as file,
        mmap.mmap(file.fileno(), _PROGRESS.size) as shown,
        (folder / "faults.jsonl").open("w") as faults,
        watched(),
    ):
        memory = Memory()
        before = memory.most()
        told = 0
        for number in range(job["first"], job["stop"]):
            _PROGRESS.pack_into(shown, 0, number, *counts.values(), before, time.process_time())
            data = made(job["target"], number, seeds, job["campaign"])
            outcome = attempt(guarded, data, job.get("seconds", SECONDS), confined)
            kind, what, trace = outcome
            after = memory.most()
            if after - before > GROWTH and kind in (ACCEPTED, REFUSED) and not confined:
                kind, what = "foreign", f"{kind}, but took {(after - before) >> 10} MiB"
            before = after
            counts[kind] += 1
            if what and told < TOLD:
                told += 1
                fault = {"number": number, "kind": kind, "what": what, "trace": trace}
                faults.write(json.dumps(fault) + "\n")
                faults.flush()
            if not number % 50 and time.time() > job["until"]:
                break
        _PROGRESS.pack_into(shown, 0, number, *counts.values(), before, time.process_time())
        return Progress.of(shown[:])


def _guarded(read: Callable[[bytes], object], guard: Guard) -> Callable[[bytes], object]:
    def reading(data: bytes) -> object:
        guard.on = True
        try:
            return read(data)
        finally:
            guard.on = False

    return reading


class Memory:
    """The most memory that was in use. A quick count, but Linux begins it with that of whoever
    started this process; if that was more than this takes, the slow count has to do."""

    def __init__(self) -> None:
        self.blind = self._quick() > 1.1 * self._slow()

    def most(self) -> int:
        """In KiB."""
        return self._slow() if self.blind else self._quick()

    def _quick(self) -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def _slow(self) -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])


def main() -> None:
    """Do the job on the command line."""
    folder, job = Path(sys.argv[1]).resolve(), json.loads(sys.argv[2])
    faulthandler.enable()
    sys.unraisablehook = lambda _: None  # an alarm in a destructor; it rings again
    (folder / "work").mkdir(exist_ok=True)
    os.chdir(folder / "work")
    limit(60 + (job["stop"] - job["first"]) // 50)
    run(job, folder, Guard(folder / "work"))


if __name__ == "__main__":
    main()
