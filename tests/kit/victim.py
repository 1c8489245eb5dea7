"""One command line from an empty store to a finished run, and moments at which to stop it."""

from __future__ import annotations

import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.command import TOY_ENCODERS, Cli
from kit.faults import (
    continued,
    descendants,
    gone,
    heard,
    planted,
    steps,
    stop,
    wait_for,
    whole,
)

SLOW = ("toy-mean.sleep=0.03", "toy-mean.encode_sleep=0.4", "sleep=0.03", "score_sleep=0.02")
RUN = ("run", "toy-ridge", "--protocol", "toy-4-2", *TOY_ENCODERS, "--quiet")
RUN = (*RUN, *(word for value in SLOW for word in ("--set", value)))
GOES_ON = "The same command continues where this one stopped."


@dataclass(frozen=True)
class Point:
    """A moment of a command at which it is stopped.

    Attributes:
        stage: import, encoder, encode, fit, score or write.
        step: of the stage; the stages encode and score have none.
        delay: seconds after that.
        alone: only the command is stopped, not its process group.
        how: by which signal.
    """

    stage: str
    step: int
    delay: float
    alone: bool
    how: signal.Signals = signal.SIGKILL

    def reached(self, home: Path, events: Path) -> bool:
        """Whether a running command has come so far."""
        if self.stage == "import":
            journal = home / "data" / ".toy-motion.import" / "journal.jsonl"
            return journal.is_file() and journal.read_bytes().count(b"\n") >= self.step
        earlier = {"encode": "encoder", "score": "fit"}.get(self.stage, self.stage)
        return any(s[-1] >= self.step for s in steps(heard(events), earlier).values())


class Victim:
    """One command line from an empty store to a finished run, stopped on the way."""

    def __init__(self, cli: Cli, raw: Path) -> None:
        self.cli = cli
        self.raw = raw
        self.home = cli.cwd / "home"
        self.results = cli.cwd / "results"
        self.calls = 0
        self.before: list[dict[str, Any]] = []
        self.found = 0

    def start(self, point: Point) -> tuple[subprocess.Popen[str], Path]:
        """Start what the point is about; returns the process and where events are heard."""
        self.calls += 1
        events = self.cli.cwd / f"events-{self.calls}"
        env = {"ZSAR_BENCH_TOY_EVENTS": str(events)}
        if point.stage == "import":
            env["ZSAR_BENCH_TOY_SLEEP"] = "0.02"
        if point.stage == "write":
            site = self.cli.site
            env |= planted(site, do="kill", at=point.step, below=self.results, after="/out")
        words = RUN
        if point.stage == "import":
            words = ("data", "import", "toy-motion", self.raw, "--quiet")
        options: dict[str, Any] = {"home": self.home, "checkpoint_seconds": 0.0, "env": env}
        return self.cli.start(*words, **options), events

    def stopped_at(self, point: Point) -> None:
        """Start it, stop it there, and look at what is left."""
        print(point)
        shards = self._shards()
        process, events = self.start(point)
        if point.stage == "write":
            process.wait(60)
            family: set[tuple[int, int]] = set()
        else:
            wait_for(lambda: point.reached(self.home, events), process)
            time.sleep(point.delay)
            family = descendants(process.pid)
            assert process.poll() is None, "it ended before the point was reached"
            took = stop(process, point.how, point.alone)
        said = process.communicate()
        if point.how == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL, said
        else:
            assert process.returncode == 130, said
            assert GOES_ON in said[1]
            assert "Traceback" not in said[1]
            assert took < 2, f"Ctrl-C took {took:.1f} s"
        gone(family, self.cli.cwd)
        whole(self.home, self.results)
        self._continues(events)
        assert shards.items() <= self._shards().items()

    def _shards(self) -> dict[str, int]:
        """Finished shards of an unfinished import and their inodes."""
        beside = self.home / "data" / ".toy-motion.import"
        journal = beside / "journal.jsonl"
        known = journal.read_text() if journal.is_file() else ""
        found = {p.name: p.stat().st_ino for p in beside.glob("store/shards/[!.]*")}
        return {name: inode for name, inode in found.items() if f'"{name}"' in known}

    def _continues(self, events: Path) -> None:
        now = heard(events)
        self.found += continued(self.before, now)
        self.before += now

    def to_its_end(self) -> Path:
        """The same command once more, undisturbed; returns the folder of the run."""
        process, events = self.start(Point("end", 0, 0, True))
        said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        self._continues(events)
        (run,) = whole(self.home, self.results)
        return run
