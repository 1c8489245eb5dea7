"""What a supervisor asks the kernel about processes: death signals, descendants, their memory.

Linux gives all of it. Elsewhere a process group is all that can be ended, and nothing is measured.
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
PATIENCE = 5.0  #: seconds after which a process that does not die is left to the kernel

_DEATH_SIGNAL, _SUBREAPER = 1, 36  #: ``prctl`` options


def _prctl(option: int, value: int) -> None:
    if LINUX:
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def die_with_parent() -> None:
    """The kernel ends this process when the thread that started it ends (Linux)."""
    _prctl(_DEATH_SIGNAL, signal.SIGKILL)


def adopt_orphans() -> None:
    """Descendants whose parent dies become children of this process, daemons too (Linux)."""
    _prctl(_SUBREAPER, 1)


def children(pid: int) -> list[int]:
    """Children of a process; ``[]`` if it is gone. May miss some while others end."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        found: list[int] = []
        for task in tasks:
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
        return found
    except FileNotFoundError:
        return [] if _lists_children() else _scan(pid)
    except OSError:
        return []


def _lists_children() -> bool:
    """Whether this kernel was built to list a process's children."""
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


def _scan(pid: int) -> list[int]:
    found = []
    for name in os.listdir("/proc") if LINUX else ():
        with contextlib.suppress(OSError, ValueError, IndexError):
            if name.isdecimal():
                # The program's name may hold anything: what counts stands behind its bracket.
                stat = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                if int(stat[1]) == pid:
                    found.append(int(name))
    return found


def descendants(pid: int) -> list[int]:
    """All processes below one, without it."""
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children(todo.pop())
        found += below
        todo += below
    return found


def memory(pids: list[int]) -> int:
    """Bytes that these processes hold in memory; pages that they share count in each."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            total += int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * PAGE
    return total


def shared_memory(pids: list[int]) -> int:
    """The same, where a page that n processes share counts 1/n in each; slow."""
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
    """How often the kernel has ended a process for want of memory."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/vmstat").read_bytes().splitlines():
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
    return 0


def end_descendants() -> None:
    """Kill and reap every descendant of this process, which adopts orphans.

    Only its own children are signalled, since no pid of theirs can be given away before they are
    reaped; theirs become its own when they die. It ends when there is none left.
    """
    me = os.getpid()
    end = time.monotonic() + PATIENCE
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
