"""The fork server: a process that has imported torch, from which workers are forked.

    python -P -m zsar_bench.worker.forkserver SOCKET

Importing torch takes seconds; forking a process that has imported it takes milliseconds. The server
never computes (a fork after OpenMP has run hangs), never uses an accelerator, never imports plugin
code and stores nothing of any run. A request holds the path of a job file and the descriptors of
its worker, which the server passes to the supervisor that it forks.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import json
import math
import os
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn

from zsar_bench.sandbox import processes
from zsar_bench.sandbox.forkserver import REQUEST

PRELOADED = (
    *("torch", "numpy", "pydantic", "safetensors.numpy", "safetensors.torch"),
    *(
        "zsar_bench.worker.context",
        "zsar_bench.worker.jobs",
        "zsar_bench.sandbox.wire",
        "zsar_bench.worker.supervisor",
    ),
)
#: Imported by torch's first optimiser, which takes over a second, so it is preloaded only in longer
#: commands. Earlier workers import it themselves, if they need it.
PRELOADED_LATER = ("torch._dynamo",)
LATER = 10.0  #: seconds after the first imports
REAP = 0.2  #: seconds between two checks for supervisors that ended


def serve(line: socket.socket) -> None:
    """Fork one supervisor per request until the parent ends."""
    processes.adopt_orphans()  # those of killed supervisors
    if not _preload(line, PRELOADED):
        return
    _send(line, {"ready": True})
    later = time.monotonic() + LATER
    supervisors: set[int] = set()
    poll = select.poll()
    poll.register(line, select.POLLIN)
    while True:
        _reap(supervisors)
        if not poll.poll(REAP * 1000 if supervisors else None):
            continue
        message, descriptors, _, _ = socket.recv_fds(line, REQUEST, 4)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            _become_supervisor(line, message.decode(), descriptors)
        supervisors.add(pid)
        pidfd = os.pidfd_open(pid)
        _send(line, {"pid": pid}, [pidfd])
        for descriptor in (pidfd, *descriptors):
            os.close(descriptor)
        if time.monotonic() > later:
            later = math.inf
            if not _preload(line, PRELOADED_LATER):
                return


def _preload(line: socket.socket, modules: Sequence[str]) -> bool:
    """Import modules for all later workers; False, with an error sent, if that starts threads."""
    with _leave_with_parent(line):
        for name in modules:
            importlib.import_module(name)
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        _send(line, {"error": f"importing {modules[0]} starts {threads} threads here"})
        return False
    gc.freeze()  # the garbage collector of a child must not touch the shared pages
    return True


@contextlib.contextmanager
def _leave_with_parent(line: socket.socket) -> Iterator[None]:
    """End the server if the parent ends during imports, while the socket is not read."""

    def check_parent(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(BlockingIOError):
            if not line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                _leave()

    signal.signal(signal.SIGALRM, check_parent)
    signal.setitimer(signal.ITIMER_REAL, REAP, REAP)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _leave() -> NoReturn:
    with contextlib.suppress(OSError):
        shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
    os._exit(0)


def _become_supervisor(line: socket.socket, job_file: str, descriptors: list[int]) -> None:
    from zsar_bench.worker.supervisor import watch

    try:
        line.close()
        os.setsid()
        watch(job_file, *descriptors)
    finally:
        os._exit(1)


def _reap(supervisors: set[int]) -> None:
    """Reap supervisors that ended, and kill processes that a killed supervisor has left."""
    while supervisors:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            supervisors.clear()
            return
        if not pid:
            break
        supervisors.discard(pid)
    for child in processes.children(os.getpid()):
        if child not in supervisors:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)


def _send(line: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
    with contextlib.suppress(OSError):  # the parent has ended: there will be no next request
        line.sendmsg([json.dumps(message).encode()], [rights] if descriptors else [])


def main() -> None:
    """Serve on the socket of this descriptor."""
    line = socket.socket(fileno=int(sys.argv[1]))
    try:
        serve(line)
    except Exception as error:
        _send(line, {"error": f"{type(error).__name__}: {error}"})
    _leave()


if __name__ == "__main__":
    main()
