"""The environment of a run: versions, source tree, machine."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from zsar_bench.catalogue.machine import Machine
from zsar_bench.sandbox.confinement.confine import support
from zsar_bench.version import __version__

if TYPE_CHECKING:
    from zsar_bench.records.parts import Environment


@functools.cache
def source_state() -> tuple[str, bool | None]:
    """Git commit of this package's source tree, and whether its code was changed since."""
    return git_state(Path(__file__).resolve().parent.parent)


def git_state(root: Path) -> tuple[str, bool | None]:
    """Commit of a source tree, and whether it has uncommitted changes.

    Changes below ``results`` do not count: runs write there. ``("", None)`` without git or a
    git tree.
    """
    if not (root / ".git").exists():
        return "", None

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout.strip()

    status = ("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)results")
    try:
        return git("rev-parse", "HEAD"), bool(git(*status))
    except (OSError, subprocess.SubprocessError):
        return "", None


@functools.cache
def processor() -> str:
    """The processor's model name."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def torch_version() -> str:
    """Installed torch, without importing it."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""


def environment(machine: Machine, precision: str) -> Environment:
    """The environment part of a record."""
    from zsar_bench.records.parts import Environment

    commit, dirty = source_state()
    return Environment(
        zsar_bench=__version__,
        commit=commit,
        dirty=dirty,
        python=platform.python_version(),
        torch=torch_version(),
        platform=f"{platform.system()} {platform.machine()}, {processor()}",
        device=machine.device,
        device_name=machine.device_name,
        threads=machine.threads,
        precision=precision,
        confinement=support().level,
    )
