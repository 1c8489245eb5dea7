"""Starts the children of a campaign, learns how they ended, and goes on behind what ended them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.fuzz.attempt import ROOT, SECONDS, within_project
from benchmarks.fuzz.child import Progress

BATCH = 20_000  #: inputs of one child
STUCK = 30.0  #: seconds without a new input after which a child is killed
START = 120.0  #: seconds until the first one
DEADLY = 50  #: killed children after which a target is given up
#: What a library in Rust says before it ends its process. There is one, and only a worker with a
#: limit of memory loads it: there this is a refusal, as a MemoryError is.
NO_MEMORY = "memory allocation of"
KEPT = 20  #: faults of a target that are described, the first of their kind

Say = Callable[[str], None]


class Campaign(NamedTuple):
    """What is to be done.

    Attributes:
        targets: names.
        inputs: of each.
        jobs: children at a time.
        until: the time at which nothing new is started.
        seed: of all inputs.
        seconds: that one reading may take.
    """

    targets: Sequence[str]
    inputs: int
    jobs: int = 2
    until: float = 9e9
    seed: int = 0
    seconds: float = SECONDS


@dataclass
class Tally:
    """What became of a target's inputs.

    Attributes:
        killed: children that ended before their inputs did.
        seconds: of processor time.
        memory: the most that a child used, in KiB.
        faults: of each kind of fault the first one, with ``count``.
    """

    accepted: int = 0
    refused: int = 0
    foreign: int = 0
    slow: int = 0
    killed: int = 0
    seconds: float = 0.0
    memory: int = 0
    faults: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """Inputs that were read, whatever came of it."""
        return self.accepted + self.refused + self.bad

    @property
    def bad(self) -> int:
        """Inputs that found a fault."""
        return self.foreign + self.slow + self.killed

    def add(self, found: Progress, faults: Sequence[dict[str, Any]], killed: bool) -> None:
        """Count what a child did."""
        self.accepted += found.accepted
        self.refused += found.refused
        self.foreign += found.foreign
        self.slow += found.slow
        self.killed += killed
        self.seconds += found.seconds
        self.memory = max(self.memory, found.memory)
        for fault in faults:
            known = self.faults.get(fault["what"])
            if known is not None:
                known["count"] += 1
            elif len(self.faults) < KEPT:
                self.faults[fault["what"]] = fault | {"count": 1}


def run(campaign: Campaign, say: Say = lambda line: None) -> dict[str, Tally]:
    """Do a campaign; batches of all targets take turns, so that its end cuts all of them short."""
    tallies = {name: Tally() for name in campaign.targets}
    lock = threading.Lock()

    def work(batch: tuple[str, int, int]) -> None:
        name, first, stop = batch
        while first < stop and time.time() < campaign.until:
            with lock:
                if tallies[name].killed >= DEADLY:
                    return
            job = {"target": name, "first": first, "stop": stop, "campaign": campaign.seed}
            found, faults, killed = child(job | {"seconds": campaign.seconds}, campaign.until)
            with lock:
                tallies[name].add(found, faults, killed)
            first = found.number + 1
        with lock:
            say(f"{name}: {tallies[name].inputs:,} of {campaign.inputs:,}, {tallies[name].bad} bad")

    with ThreadPoolExecutor(campaign.jobs) as pool:
        for _ in pool.map(work, _batches(campaign)):
            pass
    return tallies


def _batches(campaign: Campaign) -> Iterator[tuple[str, int, int]]:
    for first in range(0, campaign.inputs, BATCH):
        for name in campaign.targets:
            yield name, first, min(first + BATCH, campaign.inputs)


def child(job: dict[str, Any], until: float = 9e9) -> tuple[Progress, list[dict[str, Any]], bool]:
    """Run a child to its end.

    Args:
        job: as ``child.run`` takes it, without ``until``.
        until: when it is to stop by itself.

    Returns:
        How far it came, the faults that it told of, and whether something ended it; then the last
        fault is what that was.
    """
    folder = Path(tempfile.mkdtemp(prefix="zsar-fuzz-")).resolve()
    try:
        (folder / "work").mkdir()
        words = [str(folder), json.dumps(job | {"until": until})]
        with (folder / "stderr").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.fuzz.child", *words],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                cwd=folder / "work",
                env=_environment(folder / "work"),
                start_new_session=True,
            )
            try:
                stuck = _wait(process, folder / "progress")
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        found = _progress(folder / "progress") or Progress(number=job["first"])
        faults = _faults(folder / "faults.jsonl")
        if process.returncode == 0:
            return found, faults, False
        said = within_project((folder / "stderr").read_text("utf-8", "replace"))[-3000:]
        if process.returncode == -signal.SIGABRT and NO_MEMORY in said:
            return found._replace(refused=found.refused + 1), faults, False
        what = "stuck, no alarm could stop it" if stuck else _ended(process.returncode, said)
        fault = {"number": found.number, "kind": "killed", "what": what, "trace": said}
        return found, [*faults, fault], True
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environment(work: Path) -> dict[str, str]:
    """What a child knows: the project, a home of its own, and one thread."""
    path = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    homes = dict.fromkeys(("HOME", "TMPDIR", "ZSAR_BENCH_HOME"), str(work))
    python = {"PYTHONPATH": os.pathsep.join(p for p in path if p), "PYTHONDONTWRITEBYTECODE": "1"}
    return {"PATH": os.environ.get("PATH", ""), **threads, **homes, **python}


def _wait(process: subprocess.Popen[bytes], path: Path) -> bool:
    """Wait for a child; kill it and return True if it makes no progress."""
    last, since = -1, time.monotonic()
    while True:
        try:
            process.wait(0.5)
            return False
        except subprocess.TimeoutExpired:
            found = _progress(path)
            if found is not None and found.ended != last:
                last, since = found.ended, time.monotonic()
            elif time.monotonic() - since > (START if found is None else STUCK):
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return True


def _progress(path: Path) -> Progress | None:
    try:
        return Progress.of(path.read_bytes())
    except (OSError, ValueError):
        return None


def _faults(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = path.read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def _ended(code: int, said: str) -> str:
    """How a child ended that was not to."""
    last = said.strip().splitlines()[-1:] or [""]
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}: {last[0][:200]}"
