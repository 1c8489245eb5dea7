"""Where a run is made: versions, source tree, machine."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench import __version__
from zsar_bench.confinement import support

if TYPE_CHECKING:
    from zsar_bench.catalogue import Entry
    from zsar_bench.record import Environment


CHECKPOINT_SECONDS = 10.0  #: shortest time between two checkpoints of a fit


@dataclass(frozen=True)
class Machine:
    """Where workers compute.

    Attributes:
        device: ``cpu`` or ``cuda``.
        threads: CPU threads of a worker; part of identity, because sums depend on it.
        device_name: the accelerator's name, for the record.
        plugin_files: single-file plugins a worker must import.
        code: files that the plugins' code digests cover: all that a worker may import of them.
        code_state: digest of these files as they were when the command began.
        protected: store and results, which no worker may reach as a whole.
        timeout, memory: seconds and bytes that one worker may use; None: as much as it likes.
        deterministic: whether CUDA may only use operations that repeat bit for bit. A CPU does
            so anyway, so that it is part of identity on CUDA only.
    """

    device: str
    threads: int
    device_name: str = ""
    plugin_files: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    code_state: str = ""
    protected: tuple[str, ...] = ()
    timeout: float | None = None
    memory: int | None = None
    deterministic: bool = False

    @property
    def identity(self) -> dict[str, Any]:
        choice = {"deterministic": True} if self.deterministic and self.device == "cuda" else {}
        return {"device": self.device, "threads": self.threads, **choice}

    def job(self, kind: str, entry: Entry, params: dict[str, Any], **rest: Any) -> dict[str, Any]:
        """A job for a worker that builds ``entry``'s object."""
        return {
            "kind": kind,
            "plugin_files": self.plugin_files,
            "target": entry.spec["target"],
            "params_target": entry.spec.get("params", ""),
            "params": params,
            "device": self.device,
            "threads": self.threads,
            "deterministic": self.deterministic,
            "checkpoint_seconds": CHECKPOINT_SECONDS,
            "reads": (),
            "code": self.code,
            "code_state": self.code_state,
            "protected": self.protected,
            "limits": {"seconds": self.timeout, "bytes": self.memory},
            **rest,
        }


def cores() -> int:
    """CPU cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


@functools.cache
def source_state() -> tuple[str, bool | None]:
    """Git commit of the tree this package lies in, and whether its code was changed since."""
    return git_state(Path(__file__).resolve().parent.parent)


def git_state(root: Path) -> tuple[str, bool | None]:
    """Commit of a source tree, and whether it has uncommitted changes.

    ``results`` does not count: making runs writes there, and is not a change of code.

    Returns:
        ``("", None)`` if it is no git tree or git is not there.
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
    from zsar_bench.record import Environment

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
