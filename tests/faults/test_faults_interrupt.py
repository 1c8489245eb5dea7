"""Ctrl-C: within two seconds at any stage, with a sentence, and the same command goes on."""

from __future__ import annotations

import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kit.command import Cli
from kit.faults import descendants, faulty_site, gone, heard, stop, wait_for
from kit.victim import GOES_ON, RUN, Point, Victim

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.process,
]


def interrupts(rng: random.Random) -> list[Point]:
    """One Ctrl-C a stage; a terminal sends it to the group, ``kill -INT`` to the command alone."""
    alone = [n % 2 == 0 for n in range(6)]
    rng.shuffle(alone)
    return [
        Point(stage, step, rng.uniform(0, delay), alone.pop(), signal.SIGINT)
        for stage, step, delay in (
            ("import", rng.randrange(2, 12), 0.1),
            ("encoder", rng.randrange(1, 28), 0.05),
            ("encode", 30, 0.3),
            ("fit", rng.randrange(1, 38), 0.05),
            ("score", 40, 0.8),
        )
    ]


def interrupt_on_the_way(seed: int, cli: Cli, raw: Path, toy_run: Path) -> None:
    print(f"seed {seed}")
    victim = Victim(cli, raw)
    for point in interrupts(random.Random(seed)):
        if point.stage == "encoder":
            cli("data", "import", "toy-motion", raw, "--quiet", home=victim.home)
        victim.stopped_at(point)
    name = "predictions.safetensors"
    assert (victim.to_its_end() / name).read_bytes() == (toy_run / name).read_bytes()
    assert victim.found >= 6


def test_an_interrupt_at_any_stage(cli: Cli, toy_raw: Path, toy_run: Path) -> None:
    interrupt_on_the_way(1, cli, toy_raw, toy_run)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
def test_interrupts_at_thirty_points(seed: int, cli: Cli, toy_raw: Path, toy_run: Path) -> None:
    interrupt_on_the_way(seed, cli, toy_raw, toy_run)


IMPORTS = (
    "typer",
    "zsar_bench.cli.run",
    "zsar_bench.catalogue.catalogue",
    "zsar_bench.plans.plan",
    "numpy",
)


@pytest.mark.parametrize("module", IMPORTS)
def test_an_interrupt_while_it_starts(module: str, cli: Cli) -> None:
    env = faulty_site(cli.site) | {"FAULTS_INTERRUPT": module}
    done = cli(*RUN, env=env, check=130)
    assert "Interrupted" in done.stderr
    assert "Traceback" not in done.stderr
    gone(set(), cli.cwd)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_while_plugins_are_looked_at(how: signal.Signals, cli: Cli, tmp_path: Path) -> None:
    endless = tmp_path / "endless.py"
    endless.write_text("import time\ntime.sleep(600)\n")
    process = cli.start("list", "methods", "--plugin", endless)
    wait_for(lambda: descendants(process.pid), process)
    time.sleep(1)  # so that the plugin is reached
    family = descendants(process.pid)
    took = stop(process, how, alone=True)
    said = process.communicate()
    assert process.returncode == {signal.SIGINT: 130, signal.SIGKILL: -9}[how], said
    assert took < 2
    assert "Traceback" not in said[1]
    gone(family, cli.cwd)


def test_who_waits_for_another_command_can_be_interrupted(cli: Cli, tmp_path: Path) -> None:
    def start(number: int) -> tuple[Any, Path]:
        events = tmp_path / f"events-{number}"
        env = {"ZSAR_BENCH_TOY_EVENTS": str(events)}
        return cli.start(*RUN, "--set", "sleep=1", env=env), events

    first, events = start(1)
    wait_for(lambda: [e for e in heard(events) if e.get("stage") == "fit"], first)
    second, events = start(2)
    wait_for(lambda: [e for e in heard(events) if e.get("state") == "started"], second)
    time.sleep(0.3)
    took = stop(second, signal.SIGINT, alone=False)
    said = second.communicate()
    assert first.poll() is None
    assert (second.returncode, took < 2) == (130, True), (took, said)
    assert GOES_ON in said[1]


def test_impatience_changes_nothing(cli: Cli, tmp_path: Path, copy_home: Path) -> None:
    shutil.rmtree(copy_home / "encoders", ignore_errors=True)
    events = tmp_path / "events"
    process = cli.start(*RUN, home=copy_home, env={"ZSAR_BENCH_TOY_EVENTS": str(events)})
    wait_for(lambda: [e for e in heard(events) if e.get("stage") == "encoder"], process)
    family = descendants(process.pid)
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    said = process.communicate(timeout=10)
    assert process.returncode == 130, said
    assert "Traceback" not in said[1]
    gone(family, cli.cwd)
