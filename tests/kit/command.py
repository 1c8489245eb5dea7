"""The command line as users type it, in the test's process or in one of its own.

See the fixture ``cli``. A process of its own costs seconds of imports, so that only tests that
are about processes have one (the marker ``process``, or ``real=True``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit.paths import ROOT, TESTS
from zsar_bench.catalogue import machine
from zsar_bench.common import checksums
from zsar_bench.common.files import stopping
from zsar_bench.sandbox import forkserver, launch
from zsar_bench.sandbox.client import Worker

TOY_ENCODERS = ("--skeleton-encoder", "toy-mean", "--text-encoder", "toy-hash")
TIMEOUT = 240  #: seconds; far more than any command of a test takes

#: ``python -m zsar_bench`` with another time between checkpoints, or with walls that let workers
#: write into one more folder, through which a test's plugin tells what it sees.
_CHANGED = """
import dataclasses, json, sys
from zsar_bench.catalogue import machine
from zsar_bench.sandbox import launch
changes = json.loads(sys.argv.pop(1))
if "checkpoint_seconds" in changes:
    machine.CHECKPOINT_SECONDS = changes["checkpoint_seconds"]
if "write_to" in changes:
    rules_of = launch.rules
    def with_a_hole(*job):
        rules = rules_of(*job)
        return dataclasses.replace(rules, write=(*rules.write, changes["write_to"]))
    launch.rules = with_a_hole
from zsar_bench.cli import main
main()
"""


def environment(home: Path, site: Path | None, more: dict[str, str] | None = None) -> dict:
    """Environment of a subprocess: this store, this plugin, nothing of the user's."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("ZSAR_BENCH_", "PYTHON"))}
    env |= {"ZSAR_BENCH_HOME": str(home), "COLUMNS": "120", "PYTHONDONTWRITEBYTECODE": "1"}
    env.pop("FORCE_COLOR", None)
    if site is not None:
        env["PYTHONPATH"] = str(site)
    return env | (more or {})


def see_plugins(patch: pytest.MonkeyPatch, home: Path, site: Path) -> None:
    """Let this process see the plugins of ``site`` and the store ``home``."""
    patch.syspath_prepend(str(site))
    patch.setenv("PYTHONPATH", str(site))
    patch.setenv("ZSAR_BENCH_HOME", str(home))


@contextlib.contextmanager
def _as_in(cwd: Path, env: dict[str, str], site: Path) -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    """Folder, environment, import path and streams of a command; yields what it says."""
    before = os.getcwd(), dict(os.environ), list(sys.path), sys.stdout, sys.stderr, sys.stdin
    out, err = io.BytesIO(), io.BytesIO()
    os.environ.clear()
    os.environ.update(env)
    sys.path[:] = [str(site), *(p for p in sys.path if p not in ("", str(ROOT), str(TESTS)))]
    streams = (
        io.TextIOWrapper(out, "utf-8", write_through=True),
        io.TextIOWrapper(err, "utf-8", errors="backslashreplace", write_through=True),
    )
    sys.stdout, sys.stderr = streams
    try:
        with open(os.devnull) as sys.stdin, contextlib.chdir(cwd):
            yield out, err
    finally:
        os.chdir(before[0])
        os.environ.clear()
        os.environ.update(before[1])
        sys.path[:] = before[2]
        sys.stdout, sys.stderr, sys.stdin = before[3:]
        for stream in streams:
            stream.detach()  # or what was said would be closed with it


@contextlib.contextmanager
def _as_if_new(checkpoint_seconds: float | None, write_to: Path | None) -> Iterator[None]:
    """What a new process has not done, and what a test changes for one command."""
    kept = machine.CHECKPOINT_SECONDS, launch.rules
    checksums._digests.clear()
    checksums._tables.clear()
    if checkpoint_seconds is not None:
        machine.CHECKPOINT_SECONDS = checkpoint_seconds
    if write_to is not None:

        def with_a_hole(*job: Any) -> Any:
            rules = kept[1](*job)
            return dataclasses.replace(rules, write=(*rules.write, str(write_to)))

        launch.rules = with_a_hole
    try:
        yield
    finally:
        machine.CHECKPOINT_SECONDS, launch.rules = kept
        if stopping.is_set():  # the command has stopped its fork servers: the next starts its own
            forkserver._servers.clear()
        stopping.clear()
        forkserver.problem = ""
        for name in [name for name in sys.modules if name.partition(".")[0] == "zsar_toy"]:
            del sys.modules[name]  # its executor runs in the command's own process


def type_here(
    words: tuple[object, ...],
    cwd: Path,
    env: dict[str, str],
    site: Path,
    checkpoint_seconds: float | None = None,
    write_to: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, as if it were one of its own."""
    from zsar_bench.cli import main

    argv, sys.argv = sys.argv, ["zsar-bench", *map(str, words)]
    code: Any = 0
    try:
        with _as_in(cwd, env, site) as (out, err), _as_if_new(checkpoint_seconds, write_to):
            try:
                main()
            except SystemExit as end:
                code = end.code or 0
                if isinstance(code, str):
                    print(code, file=sys.stderr)
                    code = 1
            except Exception:
                traceback.print_exc()
                code = 1
    finally:
        sys.argv = argv
    said = [stream.getvalue().decode("utf-8", "replace") for stream in (out, err)]
    return subprocess.CompletedProcess(["zsar-bench", *map(str, words)], code, *said)


#: Modules that start workers.
STARTERS = (
    *("features.encoding", "features.text_embeddings", "sandbox.client"),
    *(f"runs.{name}" for name in ("finish", "fit", "proof", "score", "schedule.trackers")),
)


@contextlib.contextmanager
def workers(kind: type[Worker]) -> Iterator[None]:
    """Jobs run in threads of this process (no confinement, no limits), or in processes."""
    with pytest.MonkeyPatch.context() as patch:
        for module in STARTERS:
            patch.setattr(f"zsar_bench.{module}.Worker", kind)
        yield


class Cli:
    """Runs ``zsar-bench``; see ``conftest``.

    Args:
        home: ``ZSAR_BENCH_HOME``.
        site: where zsar-toy is installed.
        cwd: where commands are typed.
        real: whether each command has a process of its own.
    """

    def __init__(self, home: Path, site: Path, cwd: Path, real: bool = True) -> None:
        self.home = home
        self.site = site
        self.cwd = cwd
        self.real = real
        self._started: list[subprocess.Popen[str]] = []

    def _prepare(
        self,
        words: tuple[object, ...],
        home: Path | None,
        cwd: Path | None,
        env: dict[str, str] | None,
        checkpoint_seconds: float | None,
        write_to: Path | None,
    ) -> dict[str, Any]:
        self._introduce(home)
        entry = ["-m", "zsar_bench"]
        changes = {
            **({} if checkpoint_seconds is None else {"checkpoint_seconds": checkpoint_seconds}),
            **({} if write_to is None else {"write_to": str(write_to)}),
        }
        if changes:
            entry = ["-c", _CHANGED, json.dumps(changes)]
        return {
            "args": [sys.executable, *entry, *map(str, words)],
            "cwd": cwd or self.cwd,
            "env": environment(home or self.home, self.site, env),
            "text": True,
            # A shell's background job ignores interrupts, and so would a child of its child.
            "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        }

    def _introduce(self, home: Path | None) -> None:
        """Let a new store know the plugins that the shared one knows: asking takes seconds."""
        known = self.home / "catalogue"
        if home is not None and not home.exists() and known.is_dir():
            shutil.copytree(known, home / "catalogue")

    def __call__(
        self,
        *words: object,
        check: int | None = 0,
        home: Path | None = None,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        checkpoint_seconds: float | None = None,
        write_to: Path | None = None,
        real: bool | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; asserts that its exit code is ``check``."""
        call = self._prepare(words, home, cwd, env, checkpoint_seconds, write_to)
        # Another import path makes another process.
        if (self.real if real is None else real) or "PYTHONPATH" in (env or {}):
            done = subprocess.run(
                **call, capture_output=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL, check=False
            )
        else:
            done = type_here(
                words, call["cwd"], call["env"], self.site, checkpoint_seconds, write_to
            )
        if check is not None:
            said = f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
            assert done.returncode == check, f"exit code {done.returncode}:\n{said}"
        return done

    def run(self, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """``zsar-bench run`` on ``toy-4-2`` with the toy's encoders, quietly."""
        return self("run", *words, "--protocol", "toy-4-2", *TOY_ENCODERS, "--quiet", **options)

    def start(
        self,
        *words: object,
        home: Path | None = None,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        checkpoint_seconds: float | None = None,
        write_to: Path | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command in a session of its own; killed with the test."""
        call = self._prepare(words, home, cwd, env, checkpoint_seconds, write_to)
        process = subprocess.Popen(
            **call,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End what is still running."""
        for process in self._started:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
