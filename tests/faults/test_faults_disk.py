"""A disk that is full, folders that refuse, a clock that is set back: said, and nothing is lost.

The suite may run as root, whom no permission stops: refusals are planted, or a disk is really
full, and every test makes sure first that the write does fail.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.command import Cli
from kit.faults import contents, faulty_site, gone, planted, whole
from zsar_bench.records.files import read_record
from zsar_bench.worker.supervisor import Log

# Commands with a planted fault have processes of their own.
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SENTENCES = {name: os.strerror(getattr(errno, name)) for name in ("ENOSPC", "EROFS", "EACCES")}


@pytest.fixture
def finished(cli: Cli, toy_run: Path) -> dict[str, str]:
    """A finished run in the results folder; its files' digests."""
    shutil.copytree(toy_run, cli.cwd / "results" / toy_run.relative_to(toy_run.parents[3]))
    return contents(cli.cwd / "results")


def refused(
    cli: Cli, home: Path, finished: dict[str, str], do: str, where: str, at: int
) -> subprocess.CompletedProcess[str]:
    """A run whose ``at``-th change of the store or the results is refused, and all after it."""
    results = cli.cwd / "results"
    folder = {"home": home, "results": results}[where]
    env = planted(cli.site, do=do, below=folder, at=at)
    probe = [sys.executable, "-c", f"open({str(folder / 'probe')!r}, 'w')"]
    probing = os.environ | env | planted(cli.site, do=do, below=folder)
    denied = subprocess.run(probe, env=probing, capture_output=True, text=True, check=False)
    assert SENTENCES[do] in denied.stderr
    assert not (folder / "probe").exists()
    done = cli.run("toy-ridge", "--seeds", "0-1", home=home, env=env, check=None)
    print(do, where, at, done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    now = contents(results)
    assert finished.items() <= now.items()
    whole(home, results)
    gone(set(), cli.cwd)
    return done


def assert_said(done: subprocess.CompletedProcess[str], cli: Cli, do: str) -> None:
    """A clear error: what failed, on which path, and why."""
    assert done.returncode == 2, done.stderr
    said = [line for line in done.stderr.splitlines() if SENTENCES[do] in line]
    assert said, done.stderr
    assert str(cli.cwd) in said[0]


@pytest.mark.parametrize(
    ("do", "where", "at"),
    [
        ("ENOSPC", "home", 1),
        ("EROFS", "results", 1),
        ("EACCES", "home", 8),
        ("ENOSPC", "results", 9),
    ],
)
def test_a_refused_write_is_said_and_finished_runs_stay(
    do: str, where: str, at: int, cli: Cli, copy_home: Path, finished: dict[str, str]
) -> None:
    assert_said(refused(cli, copy_home, finished, do, where, at), cli, do)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_any_write_may_be_refused(
    seed: int, cli: Cli, copy_home: Path, toy_run: Path, finished: dict[str, str]
) -> None:
    rng = random.Random(seed)
    do, where = rng.choice(sorted(SENTENCES)), rng.choice(("home", "results"))
    done = refused(cli, copy_home, finished, do, where, rng.randrange(1, 60))
    if done.returncode:
        assert_said(done, cli, do)
        cli.run("toy-ridge", "--seeds", "0-1", home=copy_home)
    runs = whole(copy_home, cli.cwd / "results")
    assert {read_record(run).method_seed for run in runs} == {0, 1}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave: int) -> None:
    """Take all of a disk but so many bytes, and prove that no more fits."""
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    (folder / "ballast").write_bytes(b"x" * (free - leave))
    with pytest.raises(OSError, match="No space left"):
        (folder / "probe").write_bytes(b"x" * (leave + 8192))
    (folder / "probe").unlink()


@pytest.mark.parametrize("leave", [0, 40_000])
def test_a_full_disk_of_results(leave: int, cli: Cli, small_disk: Path, toy_run: Path) -> None:
    results = small_disk / "results"
    shutil.copytree(toy_run, results / toy_run.relative_to(toy_run.parents[3]))
    before = contents(results)
    fill(small_disk, leave)
    words = ("toy-ridge", "--seeds", "0-1", "--results", results)
    done = cli.run(*words, check=None)
    assert "Traceback" not in done.stderr
    assert done.returncode == 2, done.stderr
    assert "No space left on device" in done.stderr
    assert str(small_disk) in done.stderr
    assert before.items() <= contents(results).items()
    (small_disk / "ballast").unlink()
    cli.run(*words)
    assert before.items() <= contents(results).items()
    assert len(whole(cli.home, results)) == 2


def test_a_full_disk_of_an_import(
    cli: Cli, small_disk: Path, toy_raw: Path, toy_home: Path
) -> None:
    home = small_disk / "home"
    shutil.copytree(toy_home / "catalogue", home / "catalogue")
    fill(small_disk, 60_000)
    words = ("data", "import", "toy-motion", toy_raw)
    done = cli(*words, home=home, check=2)
    assert "No space left on device" in done.stderr
    assert str(home) in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "data" / "toy-motion").exists()
    (small_disk / "ballast").unlink()
    assert "Continuing an unfinished import" in cli(*words, home=home).stderr
    # Its own data set: other tests make more in the home that they share.
    mine = contents(home / "data" / "toy-motion")
    assert mine == contents(toy_home / "data" / "toy-motion")


def test_a_log_that_finds_no_room_ends_no_run() -> None:
    full = os.open("/dev/full", os.O_RDWR)
    try:
        with pytest.raises(OSError, match="No space left"):
            os.pwrite(full, b"x", 0)
        log = Log(full)
        for _ in range(8):
            log.add(b"x" * 60_000)
        log.write()
        assert log.size == 8 * 60_000
    finally:
        os.close(full)


def test_a_clock_set_back(cli: Cli, copy_home: Path, toy_run: Path) -> None:
    years = 40 * 365 * 86400
    env = faulty_site(cli.site) | {"FAULTS_CLOCK": str(-years)}
    future = time.time() + years
    for path in [copy_home, *copy_home.rglob("*")]:
        os.utime(path, (future, future))
    cli.run("toy-ridge", home=copy_home, env=env)
    (run,) = whole(copy_home, cli.cwd / "results")
    assert read_record(run).created < "2000"  # the clock was really set back
    name = "predictions.safetensors"
    assert (run / name).read_bytes() == (toy_run / name).read_bytes()
    stand_in = ("data", "import", "toy-stand-in", "--quiet")
    cli(*stand_in, home=copy_home, env=env)
    whole(copy_home, cli.cwd / "results")
    assert cli.run("toy-ridge", "--dry-run", "--json", home=copy_home).stdout.count("cached") >= 1
