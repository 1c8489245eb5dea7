"""Shared fixtures: a third party's plugin really installed, and the command line as users run it.

``tests/plugin_package`` (``zsar-toy``) brings a tiny data set ``toy-motion`` (96 clips), a
generator ``toy-stand-in`` for it (96 clips; ``ZSAR_BENCH_TOY_SLEEP`` seconds each),
skeleton encoder ``toy-mean``, text encoder ``toy-hash``, methods ``toy-ridge`` and
``toy-faulty`` (``--set fault=raise --set at=score``, see ``zsar_toy/methods.py``), protocol
``toy-4-2`` (32 test clips), metric ``toy-rank``, reporter ``toy-lines``
and a tracker that appends events to the file named by the environment variable
``ZSAR_BENCH_TOY_EVENTS``. A run of it takes seconds.

Fixtures:

- ``cli(*words, check=0, ...)``: runs ``zsar-bench WORDS`` in the test's own process, or, where
  a test bears the marker ``process`` or says ``real=True``, ``python -m zsar_bench WORDS``; in a
  folder of the test's own (so the default ``--results`` is ``tmp_path/results``), with zsar-toy and
  ``toy-motion`` imported; asserts the exit code unless ``check=None``; returns the
  ``CompletedProcess`` with text. ``cli.run(*words)`` is ``cli("run", "--protocol", "toy-4-2",
  encoders of the toy, "--quiet", ...)``. ``cli.start(*words)`` gives a ``Popen`` that is
  killed with its process group when the test ends.
- Options of all three: ``home=PATH`` (another ``ZSAR_BENCH_HOME``), ``cwd=PATH``,
  ``env={...}``, ``checkpoint_seconds=0.0`` (a checkpoint every step instead of every ten
  seconds, for tests that kill a fit), ``write_to=PATH`` (a folder that workers may write to,
  beside their own).
- ``toy_site``: the folder zsar-toy is installed in. ``toy_raw``: its 96 raw files, read only.
- ``toy_home``: a session's shared ``ZSAR_BENCH_HOME`` with ``toy-motion`` imported; encoders and
  texts of earlier tests are cached there. Never damage it. ``copy_home``: a store of the test's
  own with the imported data only.
- ``toy_run``: the folder of one finished run of ``toy-ridge``, read only.
- ``workers_here``: jobs run in threads of the test's process, unconfined: for tests of logic.
- ``toy_process``: the same for code called in the test's own process (``catalogue.load()``,
  ``plan_runs``): sets ``ZSAR_BENCH_HOME`` and the import path for one test.
"""

from __future__ import annotations

import compileall
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kit.command import TIMEOUT, Cli, environment, see_plugins, workers
from kit.paths import ROOT, TESTS
from kit.seeds import SEED, VARIABLE
from zsar_bench.sandbox.client import Worker
from zsar_bench.sandbox.inprocess import InProcessWorker

os.environ["HF_HUB_OFFLINE"] = "1"
#: Several test processes with several threads each wait for one another: fits took twenty times
#: as long. Set before anything imports torch.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_configure(config: pytest.Config) -> None:
    """Compile what the tests' hundreds of processes import, which write no bytecode themselves."""
    if not hasattr(config, "workerinput"):
        for folder in ("zsar_bench", "plugins"):
            compileall.compile_dir(ROOT / folder, quiet=2)


def pytest_report_header() -> str:
    """The seed of what tests draw."""
    return f"{VARIABLE}={SEED}"


def _once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first of all test processes makes, and the others find."""
    base = factory.getbasetemp()
    base = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    base.mkdir(exist_ok=True)
    folder = base / name
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (base / f"{name}.made").exists():
            folder.mkdir()
            make(folder)
            (base / f"{name}.made").touch()
    return folder


@pytest.fixture(scope="session")
def toy_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which pip has installed zsar-toy."""

    def install(folder: Path) -> None:
        source = shutil.copytree(
            TESTS / "plugin_package",
            folder / "source",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation"]
        quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
        subprocess.run(
            [*pip, "--quiet", "--no-index", "--target", str(folder / "site"), str(source)],
            check=True,
            timeout=TIMEOUT,
            env=os.environ | quiet,
        )

    return _once(tmp_path_factory, "zsar-toy", install) / "site"


@pytest.fixture(scope="session")
def toy_raw(toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The raw files of ``toy-motion``."""

    def make(folder: Path) -> None:
        subprocess.run(
            [sys.executable, "-m", "zsar_toy.make", str(folder / "raw")],
            check=True,
            timeout=TIMEOUT,
            env=environment(folder, toy_site),
        )

    return _once(tmp_path_factory, "toy-motion", make) / "raw"


@pytest.fixture(scope="session")
def toy_store(toy_site: Path, toy_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which ``toy-motion`` is imported and nothing has run. Read only."""

    def make(folder: Path) -> None:
        Cli(folder / "home", toy_site, toy_raw)("data", "import", "toy-motion", toy_raw, "--quiet")

    return _once(tmp_path_factory, "toy-home", make) / "home"


@pytest.fixture(scope="session")
def toy_home(toy_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of that store which this process's tests share, with all that they have made in it."""
    return shutil.copytree(toy_store, tmp_path_factory.mktemp("home") / "zsar-bench")


@pytest.fixture(scope="session")
def toy_run(toy_home: Path, toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of ``toy-ridge`` on ``toy-4-2``, which nothing has disturbed."""

    def make(folder: Path) -> None:
        Cli(toy_home, toy_site, folder).run("toy-ridge")

    (run,) = _once(tmp_path_factory, "toy-run", make).glob("results/runs/*/*/[!.]*")
    return run


@pytest.fixture
def copy_home(toy_store: Path, tmp_path: Path) -> Path:
    """A store of a test's own, which it may damage: what is in it depends on no other test."""
    return shutil.copytree(toy_store, tmp_path / "copied-home")


@pytest.fixture
def cli(
    toy_home: Path, toy_site: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Cli]:
    """Runs ``zsar-bench``; see the module's docstring."""
    real = request.node.get_closest_marker("process") is not None
    command = Cli(toy_home, toy_site, tmp_path, real)
    yield command
    command.close()


@pytest.fixture(scope="module")
def workers_here() -> Iterator[None]:
    """Jobs run in threads of this process; with commands in this process, too, a run is quick."""
    with workers(InProcessWorker):
        yield


@pytest.fixture
def real_workers() -> Iterator[None]:
    """A process for each worker, in a module that uses ``workers_here``: limits hold."""
    with workers(Worker):
        yield


@pytest.fixture(autouse=True)
def toy_code_is_forgotten() -> Iterator[None]:
    """A test may import zsar_toy; those that follow in this process find it as they would have."""
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "zsar_toy"]:
        del sys.modules[name]


@pytest.fixture
def toy_process(
    toy_home: Path, toy_site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """This process sees zsar-toy and the shared store, and stands in an empty folder."""
    see_plugins(monkeypatch, toy_home, toy_site)
    monkeypatch.chdir(tmp_path)
    return toy_home
