"""The fork server: a process that has imported torch, from which workers are forked.

    python -P -m zsar_bench.worker.forkserver SOCKET

Importing torch takes seconds, forking a process that has done so a few milliseconds. The server
never computes (whoever forks after OpenMP has run hangs), never touches an accelerator, never
imports plugin code and holds nothing of any run: a request is the path of a job file and the
descriptors of its worker, which it hands to the supervisor that it forks.
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
#: What torch's optimisers import when the first one is made: over a second, for which only
#: commands that take longer pay here. Workers before that import it themselves, if they need it.
PRELOADED_LATER = ("torch._dynamo",)
LATER = 10.0  #: seconds after the first imports
REAP = 0.2  #: seconds between two looks for supervisors that ended


# --- In the server -----------------------------------------------------------------------------


def serve(line: socket.socket) -> None:
    """Fork a supervisor a request until the parent is gone."""
    processes.adopt_orphans()  # of supervisors that were killed
    if not _preload(line, PRELOADED):
        return
    _say(line, {"ready": True})
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
        _say(line, {"pid": pid}, [pidfd])
        for descriptor in (pidfd, *descriptors):
            os.close(descriptor)
        if time.monotonic() > later:
            later = math.inf
            if not _preload(line, PRELOADED_LATER):
                return


def _preload(line: socket.socket, modules: Sequence[str]) -> bool:
    """Import them for all workers to come; false, and said, if that started threads."""
    with _leaving_if_alone(line):
        for name in modules:
            importlib.import_module(name)
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        _say(line, {"error": f"importing {modules[0]} starts {threads} threads here"})
        return False
    gc.freeze()  # the garbage collector of a child leaves these pages shared
    return True


@contextlib.contextmanager
def _leaving_if_alone(line: socket.socket) -> Iterator[None]:
    """Imports take seconds, in which nobody reads the socket: end if the parent does meanwhile."""

    def look(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(BlockingIOError):
            if not line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                _leave()

    signal.signal(signal.SIGALRM, look)
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
    """Bury supervisors that ended. What one has left, because it was killed, is killed in turn."""
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


def _say(line: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
    with contextlib.suppress(OSError):  # the parent is gone: the next request will not come
        line.sendmsg([json.dumps(message).encode()], [rights] if descriptors else [])


def main() -> None:
    """Serve on the socket of this descriptor."""
    line = socket.socket(fileno=int(sys.argv[1]))
    try:
        serve(line)
    except Exception as error:
        _say(line, {"error": f"{type(error).__name__}: {error}"})
    _leave()


if __name__ == "__main__":
    main()
