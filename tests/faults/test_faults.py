"""Commands that are killed at any stage go on from there and end in the same bytes.

Points are drawn from seeds: which stage, which step or moment in it, the command alone or its
whole process group. ``-m slow`` draws ten times as many.
"""

from __future__ import annotations

import random
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.command import Cli
from kit.faults import contents, leftovers, planted, strays, whole
from kit.seeds import SEED
from kit.victim import Point, Victim
from zsar_bench.common.files import rename_folder, write_bytes

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.process,
]


def points(rng: random.Random) -> Iterator[Point]:
    """Ten kills in the order of a run's life."""
    alone = [n % 2 == 0 for n in range(10)]
    rng.shuffle(alone)
    first = rng.randrange(1, 20)
    for stage, step, delay in (
        ("import", rng.randrange(1, 6), 0.1),
        ("import", rng.randrange(8, 24), 0.1),
        ("encoder", first, 0.05),
        ("encoder", rng.randrange(first + 2, 29), 0.05),
        ("encode", 30, 0.6),
        ("fit", rng.randrange(1, 15), 0.05),
        ("fit", rng.randrange(17, 38), 0.05),
        ("score", 40, 1.5),
        ("write", rng.randrange(1, 6), 0),
        ("write", rng.randrange(6, 11), 0),
    ):
        yield Point(stage, step, rng.uniform(0, delay), alone.pop())


def stop_on_the_way(seed: int, cli: Cli, raw: Path, toy_home: Path, toy_run: Path) -> None:
    """Ten kills from import to the last write, and the end they must come to."""
    print(f"seed {seed}")
    victim = Victim(cli, raw)
    todo = list(points(random.Random(seed)))
    for number, point in enumerate(todo):
        if point.stage != "import" and todo[number - 1].stage == "import":
            cli(*("data", "import", "toy-motion", raw, "--quiet"), home=victim.home)
            expected = contents(toy_home / "data" / "toy-motion")
            assert contents(victim.home / "data" / "toy-motion") == expected
        victim.stopped_at(point)
    run = victim.to_its_end()
    assert victim.found >= 8  # two encoders and two fits at least, met in several states
    assert leftovers(victim.home / "data", victim.home / "encoders", victim.results) == []
    for name in ("predictions.safetensors",):
        assert (run / name).read_bytes() == (toy_run / name).read_bytes()
    assert strays(cli.cwd) == {}


@pytest.mark.parametrize("seed", [SEED])
def test_killed_anywhere_it_goes_on_and_ends_in_the_same_bytes(
    seed: int, cli: Cli, toy_raw: Path, toy_home: Path, toy_run: Path
) -> None:
    stop_on_the_way(seed, cli, toy_raw, toy_home, toy_run)


def test_half_a_file_of_a_killed_process_is_not_taken_along(tmp_path: Path) -> None:
    part, final = tmp_path / "part", tmp_path / "final"
    part.mkdir()
    write_bytes(part / "run.json", b"whole")
    (part / ".run.json.0123abcd").write_bytes(b"hal")
    rename_folder(part, final)
    assert contents(final).keys() == {"run.json"}


@pytest.mark.parametrize("at", [1, 2, 4])
def test_killed_while_it_deletes_a_run_to_make_it_again(at: int, cli: Cli, toy_run: Path) -> None:
    results = cli.cwd / "results"
    shutil.copytree(toy_run, results / toy_run.relative_to(toy_run.parents[3]))
    env = planted(cli.site, do="kill", at=at, below=results, after=toy_run.name)
    assert cli.run("toy-ridge", "--force", env=env, check=None).returncode == -signal.SIGKILL
    whole(cli.home, results)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEED + 1, SEED + 11))
def test_killed_at_a_hundred_points(
    seed: int, cli: Cli, toy_raw: Path, toy_home: Path, toy_run: Path
) -> None:
    stop_on_the_way(seed, cli, toy_raw, toy_home, toy_run)
