"""Several commands at once on one store: one works, others wait or skip, nothing is mixed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kit.command import TOY_ENCODERS, Cli
from kit.faults import contents, continued, gone, heard, leftovers, steps, stop, wait_for, whole
from zsar_bench.records.files import read_record

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.process,
]

RUN = ("run", "toy-ridge", "--protocol", "toy-4-2", *TOY_ENCODERS, "--quiet", "--json")


class Crowd:
    """Commands started together on one store and one results folder."""

    def __init__(self, cli: Cli, home: Path) -> None:
        self.cli = cli
        self.home = home
        self.results = cli.cwd / "results"
        self.processes: list[subprocess.Popen[str]] = []
        self.events: list[Path] = []

    def start(self, *words: object, **options: Any) -> subprocess.Popen[str]:
        """Add a command."""
        self.events.append(self.cli.cwd / f"events-{len(self.events)}")
        env = {"ZSAR_BENCH_TOY_EVENTS": str(self.events[-1])}
        self.processes.append(self.cli.start(*words, home=self.home, env=env, **options))
        return self.processes[-1]

    def end(self) -> list[str]:
        """Wait for all, which must succeed; their answers."""
        said = [process.communicate(timeout=240) for process in self.processes]
        assert [p.returncode for p in self.processes] == [0] * len(said), said
        gone(set(), self.cli.cwd)
        return [out for out, _ in said]

    def workers_of(self, stage: str) -> Counter[str]:
        """Task -> by how many commands this stage of it was done."""
        return Counter(task for path in self.events for task in steps(heard(path), stage))

    def runs(self) -> dict[tuple[int, int], Path]:
        """Seeds -> the finished run; all that is there is complete, and nothing is half done."""
        found = {}
        for run in whole(self.home, self.results):
            record = read_record(run)
            found[record.encoder_seed, record.method_seed] = run
        places = (self.results, *(self.home / name for name in ("data", "encoders", "texts")))
        assert leftovers(*places) == []
        return found


def assert_once_each(crowd: Crowd, seeds: range) -> None:
    """Every encoder was trained, and every method fitted, by one command only."""
    halves = [(half, seed) for half in ("half-1", "half-2") for seed in seeds]
    for stage, name in (("encoder", "toy-mean"), ("fit", "toy-ridge")):
        expected = {f"{name} {half} seed {seed}": 1 for half, seed in halves}
        assert crowd.workers_of(stage) == expected


def test_eight_commands_share_a_store(
    cli: Cli, copy_home: Path, toy_run: Path, toy_store: Path
) -> None:
    crowd = Crowd(cli, copy_home)
    for seeds in ("0", "0", "0-1", "1", "0", "1"):
        crowd.start(*RUN, "--seeds", seeds)
    for _ in range(2):
        crowd.start("data", "import", "toy-stand-in", "--quiet")
    answers = crowd.end()
    assert_once_each(crowd, range(2))
    runs = crowd.runs()
    assert set(runs) == {(0, 0), (1, 1)}
    name = "predictions.safetensors"
    assert (runs[0, 0] / name).read_bytes() == (toy_run / name).read_bytes()
    assert (runs[1, 1] / name).read_bytes() != (toy_run / name).read_bytes()
    assert json.loads(answers[0]) == json.loads(answers[1]) == json.loads(answers[4])
    assert {p.name for p in (copy_home / "data").iterdir()} == {"toy-motion", "toy-stand-in"}
    assert contents(copy_home / "data" / "toy-motion") == contents(
        toy_store / "data" / "toy-motion"
    )


@pytest.mark.parametrize("count", [2, 8])
def test_the_same_import_at_once(
    count: int, cli: Cli, toy_raw: Path, toy_store: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(toy_store / "catalogue", home / "catalogue")
    words = ("data", "import", "toy-motion", toy_raw)
    env = {"ZSAR_BENCH_TOY_SLEEP": "0.02"}
    crowd = [cli.start(*words, home=home, env=env) for _ in range(count)]
    said = [process.communicate(timeout=120) for process in crowd]
    assert [process.returncode for process in crowd] == [0] * count, said
    waited = [err for _, err in said if "toy-motion is being imported; waiting." in err]
    assert len(waited) <= count - 1
    assert [p.name for p in (home / "data").iterdir()] == ["toy-motion"]
    assert contents(home / "data" / "toy-motion") == contents(toy_store / "data" / "toy-motion")
    gone(set(), cli.cwd)


def test_who_waits_takes_over_from_the_killed(cli: Cli, copy_home: Path, toy_run: Path) -> None:
    crowd = Crowd(cli, copy_home)
    first = crowd.start(*RUN, "--set", "sleep=0.5", checkpoint_seconds=0.0)  # would take 40 s
    wait_for(lambda: steps(heard(crowd.events[0]), "fit"), first)
    second = crowd.start(*RUN, checkpoint_seconds=0.0)
    wait_for(lambda: [e for e in heard(crowd.events[1]) if e.get("state") == "started"], second)
    wait_for(lambda: max(map(max, steps(heard(crowd.events[0]), "fit").values())) > 2, first)
    stop(first, signal.SIGKILL, alone=True)
    first.communicate()
    crowd.processes.remove(first)
    crowd.end()
    assert continued(*map(heard, crowd.events)) >= 3  # two encoders, and fits in the middle
    name = "predictions.safetensors"
    assert (crowd.runs()[0, 0] / name).read_bytes() == (toy_run / name).read_bytes()


@pytest.mark.parametrize("count", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_the_same_run_at_once(count: int, cli: Cli, copy_home: Path, toy_run: Path) -> None:
    crowd = Crowd(cli, copy_home)
    for _ in range(count):
        crowd.start(*RUN)
    answers = crowd.end()
    assert_once_each(crowd, range(1))
    assert all(json.loads(answer) == json.loads(answers[0]) for answer in answers)
    name = "predictions.safetensors"
    assert (crowd.runs()[0, 0] / name).read_bytes() == (toy_run / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 8])
def test_different_runs_at_once(count: int, cli: Cli, copy_home: Path, tmp_path: Path) -> None:
    crowd = Crowd(cli, copy_home)
    for seed in range(count):
        crowd.start(*RUN, "--seeds", seed)
    crowd.end()
    assert_once_each(crowd, range(count))
    together = crowd.runs()
    assert set(together) == {(n, n) for n in range(count)}
    alone = Crowd(Cli(crowd.home, cli.site, tmp_path / "alone"), copy_home)
    alone.cli.cwd.mkdir()
    alone.start(*RUN, "--seeds", f"0-{count - 1}")
    alone.end()
    name = "predictions.safetensors"
    for seeds, run in alone.runs().items():
        assert (run / name).read_bytes() == (together[seeds] / name).read_bytes()
