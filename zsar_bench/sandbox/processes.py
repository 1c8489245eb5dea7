"""Processes: parent-death signals, descendants and their memory, by the Linux kernel.

On other systems only a process group can be ended, and memory is not measured.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

LINUX = sys.platform == "linux"
PAGE = os.sysconf("SC_PAGE_SIZE")
KILL_TIMEOUT = 5.0  #: seconds after which a process that does not end is given up

_DEATH_SIGNAL, _SUBREAPER = 1, 36  #: ``prctl`` options


def _prctl(option: int, value: int) -> None:
    if LINUX:
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def die_with_parent() -> None:
    """Let the kernel kill this process when the thread that started it ends (Linux)."""
    _prctl(_DEATH_SIGNAL, signal.SIGKILL)


def adopt_orphans() -> None:
    """Make orphaned descendants, daemons included, children of this process (Linux)."""
    _prctl(_SUBREAPER, 1)


def children(pid: int) -> list[int]:
    """Children of a process; ``[]`` if it is gone. May miss some while others end."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        pids: list[int] = []
        for task in tasks:
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                pids += map(int, file.read().split())
        return pids
    except FileNotFoundError:
        return [] if _lists_children() else _scan(pid)
    except OSError:
        return []


def _lists_children() -> bool:
    """Whether this kernel was built to list a process's children."""
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


def _scan(pid: int) -> list[int]:
    children = []
    for name in os.listdir("/proc") if LINUX else ():
        with contextlib.suppress(OSError, ValueError, IndexError):
            if name.isdecimal():
                # The program's name, in brackets, may hold anything: read what follows it.
                stat = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                if int(stat[1]) == pid:
                    children.append(int(name))
    return children


def descendants(pid: int) -> list[int]:
    """All descendants of a process, without itself."""
    pids: list[int] = []
    todo = [pid]
    while todo:
        below = children(todo.pop())
        pids += below
        todo += below
    return pids


def memory(pids: list[int]) -> int:
    """Resident bytes of these processes; shared pages count in each."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            total += int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * PAGE
    return total


def shared_memory(pids: list[int]) -> int:
    """Proportional resident bytes: a page shared by n processes counts 1/n in each; slow."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines():
                if line.startswith(b"Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def data_size() -> int:
    """Bytes of this process's private writable memory, touched or not, as RLIMIT_DATA counts."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_bytes().split()[5]) * PAGE
    return 0


def free_memory() -> int:
    """Bytes that programs could take now without any being swapped out; a guess elsewhere."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_bytes().splitlines():
            if line.startswith(b"MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 4 << 30


def out_of_memory_kills() -> int:
    """How often the kernel has killed a process because memory ran out."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/vmstat").read_bytes().splitlines():
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
    return 0


def reap_descendants() -> None:
    """Kill and reap every descendant of this process, which adopts orphans.

    Only direct children are signalled: their pids cannot be reused before they are reaped. Their
    children become children of this process when they end. Returns when none is left.
    """
    me = os.getpid()
    end = time.monotonic() + KILL_TIMEOUT
    while time.monotonic() < end:
        for child in children(me):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.0005)
