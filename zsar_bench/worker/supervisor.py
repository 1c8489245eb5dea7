"""A supervisor: starts one worker, watches it and reaps all its processes.

    python -P -m zsar_bench.worker.supervisor JOB REQUESTS ANSWERS CONTROL LOG

It is forked by the fork server or started as a new process, and never runs plugin code. The worker
is its child; processes that a plugin starts, daemons included, are its descendants. When the worker
ends, a limit is exceeded or the parent ends, all of them are killed and reaped. A final report
tells the parent how the worker ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from zsar_bench.sandbox import processes
from zsar_bench.sandbox.wire import BrokenStream, receive
from zsar_bench.worker import main

POLL = 0.05  #: seconds between two measurements of the memory
HEAD, TAIL = 64 * 1024, 192 * 1024  #: bytes kept of a worker's output: its start and its end
WRITE = 1.0  #: shortest time in seconds between two writes of the end to disk
READ = 1 << 18  #: bytes of output read at once


@dataclass
class Log:
    """A worker's output, of which start and end are kept.

    A full disk loses the log, but does not fail the run.

    Attributes:
        file: descriptor of the log file, opened before any plugin ran.
    """

    file: int
    size: int = 0
    _tail: bytearray = field(default_factory=bytearray)
    _written: float = 0.0
    _dirty: bool = False

    def add(self, data: bytes) -> None:
        """Append output."""
        if self.size < HEAD:
            head = data[: HEAD - self.size]
            with contextlib.suppress(OSError):
                os.pwrite(self.file, head, self.size)
            self.size += len(head)
            data = data[len(head) :]
        if data:
            self.size += len(data)
            self._tail += data[-TAIL:]
            del self._tail[:-TAIL]
            self._dirty = True
            if time.monotonic() - self._written > WRITE:
                self.write()

    def write(self) -> None:
        """Write the end to disk."""
        if self._dirty:
            left_out = self.size - HEAD - len(self._tail)
            mark = b"\n[... %d bytes are not kept ...]\n" % left_out if left_out else b""
            with contextlib.suppress(OSError):
                os.ftruncate(self.file, HEAD)
                os.pwrite(self.file, mark + self._tail, HEAD)
            self._written = time.monotonic()
            self._dirty = False


@dataclass
class Limits:
    """What a worker may use, and the largest measured memory of its process tree."""

    seconds: float | None
    bytes: int | None
    peak: int = 0

    def memory_exceeded(self, pid: int) -> bool:
        """Measure a process and its descendants; whether they exceed the limit."""
        if self.bytes is None:
            return False
        pids = [pid, *processes.descendants(pid)]
        used = processes.memory(pids)
        if used > self.bytes and len(pids) > 1:
            # Forked children share most of their pages, so count these once.
            used = processes.shared_memory(pids) or used
        self.peak = max(self.peak, used)
        return used > self.bytes


class _Stop(Exception):
    """A signal asks the supervisor to end."""


def watch(job_file: str, requests: int, answers: int, control: int, log: int) -> NoReturn:
    """Start the worker of a job, wait until all its processes are reaped; never returns.

    Args:
        job_file: the job, as JSON.
        requests, answers: descriptors for the worker.
        control: a socket to the parent; it is closed when the parent ends.
        log: a file open for writing.
    """
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles interrupts
    processes.adopt_orphans()
    line = socket.socket(fileno=control)
    try:
        report = _watch(job_file, requests, answers, line, Log(log))
    except (_Stop, BrokenStream):
        report = {"stopped": True}
    except Exception as error:  # a bug of the supervisor: report it to the parent
        report = {"problem": f"{type(error).__name__}: {error}"}
    processes.reap_descendants()
    with contextlib.suppress(OSError):  # the parent may have ended
        line.send(json.dumps(report).encode())
    os._exit(0)


def _stop(number: int, frame: FrameType | None) -> None:
    raise _Stop


def _watch(
    job_file: str, requests: int, answers: int, line: socket.socket, log: Log
) -> dict[str, Any]:
    job = json.loads(Path(job_file).read_bytes())
    with open(requests, "rb", buffering=0, closefd=False) as stream:
        settings = receive(stream)[1]
    limits = Limits(**job.get("limits") or {"seconds": None, "bytes": None})
    before = processes.out_of_memory_kills()
    printed, print_to = os.pipe()
    pid = os.fork()
    if pid == 0:
        line.close()
        main.begin(job, settings, requests, answers, print_to)
    for descriptor in (requests, answers, print_to):
        os.close(descriptor)
    reason = _wait(pid, printed, line, log, limits)
    # The group first: no process of it can escape one signal to all by forking.
    _kill_group(pid)
    usage, code = _reap(pid)
    processes.reap_descendants()
    _drain(printed, log)
    log.write()
    report = {"code": code, "peak": max(limits.peak, usage), **reason}
    if code == -signal.SIGKILL and not reason and processes.out_of_memory_kills() > before:
        report["oom"] = "kernel"
    return report


def _wait(pid: int, printed: int, line: socket.socket, log: Log, limits: Limits) -> dict[str, Any]:
    """Wait until the worker ends by itself (``{}``) or must be stopped; returns the reason."""
    started = time.monotonic()
    poll = select.poll()
    for descriptor in (printed, line.fileno()):
        poll.register(descriptor, select.POLLIN)
    if processes.LINUX:
        poll.register(os.pidfd_open(pid), select.POLLIN)  # readable when the worker ends
    checked = 0.0
    while True:
        now = time.monotonic()
        if limits.seconds is not None and now - started > limits.seconds:
            return {"timeout": limits.seconds}
        if now - checked >= POLL:
            checked = now
            if limits.memory_exceeded(pid):
                return {"oom": "limit"}
        ready = dict(poll.poll(_pause(limits, started) * 1000))
        if line.fileno() in ready:
            return {"stopped": True}
        if printed in ready:
            data = os.read(printed, READ)
            log.add(data)
            if not data:  # closed by all processes; the worker may still run
                poll.unregister(printed)
        if _ended(pid):
            return {}


def _pause(limits: Limits, started: float) -> float:
    """Seconds until the next check of the limits."""
    if limits.bytes is not None or not processes.LINUX:
        return POLL
    if limits.seconds is not None:
        return min(1.0, max(0.001, started + limits.seconds - time.monotonic()))
    return 1.0


def _ended(pid: int) -> bool:
    if processes.LINUX:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return _poll_ended(pid)


#: peak memory and exit code of workers that ``_poll_ended`` has reaped
_reaped: dict[int, tuple[int, int]] = {}


def _poll_ended(pid: int) -> bool:
    done, status, usage = os.wait4(pid, os.WNOHANG)
    if done:
        _reaped[pid] = _peak(usage.ru_maxrss), os.waitstatus_to_exitcode(status)
    return bool(done)


def _kill_group(pid: int) -> None:
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue  # not a group yet, or no longer a process


def _reap(pid: int) -> tuple[int, int]:
    """Peak memory of the worker alone in bytes, and its exit code, negative for a signal."""
    if pid in _reaped:
        return _reaped[pid]
    _, status, usage = os.wait4(pid, 0)
    return _peak(usage.ru_maxrss), os.waitstatus_to_exitcode(status)


def _peak(largest: int) -> int:
    return largest if sys.platform == "darwin" else largest * 1024


def _drain(printed: int, log: Log) -> None:
    """Read the rest of the output; the processes that wrote it have ended."""
    os.set_blocking(printed, False)
    try:
        while data := os.read(printed, READ):
            log.add(data)
    except BlockingIOError:
        pass  # a process has survived and keeps the pipe open


if __name__ == "__main__":
    watch(sys.argv[1], *map(int, sys.argv[2:6]))
