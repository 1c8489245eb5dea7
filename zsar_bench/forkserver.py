"""The fork server: a process that has imported torch, from which workers are forked.

    python -P -m zsar_bench.forkserver SOCKET

Importing torch takes seconds, forking a process that has done so a few milliseconds. The server
never computes (whoever forks after OpenMP has run hangs), never touches an accelerator, never
imports plugin code and holds nothing of any run: a request is the path of a job file and the
descriptors of its worker, which it hands to the warden that it forks.
"""

from __future__ import annotations

import array
import atexit
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
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from zsar_bench import processes
from zsar_bench.stopping import stopping

PRELOADED = (
    *("torch", "numpy", "pydantic", "safetensors.numpy", "safetensors.torch"),
    *("zsar_bench.context", "zsar_bench.jobs", "zsar_bench.tensors", "zsar_bench.warden"),
)
#: What torch's optimisers import when the first one is made: over a second, for which only
#: commands that take longer pay here. Workers before that import it themselves, if they need it.
PRELOADED_LATER = ("torch._dynamo",)
LATER = 10.0  #: seconds after the first imports
REQUEST = 1 << 16  #: bytes of the longest request
REAP = 0.2  #: seconds between two looks for wardens that ended


class NoForkServer(Exception):
    """It cannot serve here; says why. Workers are started fresh instead, which takes longer."""


@dataclass
class Started:
    """A warden that runs: its process, and how to signal it though somebody else reaps it."""

    pid: int
    pidfd: int = -1
    child: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        """The last resort: it does not answer any more."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.child is not None:
                self.child.kill()
            else:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Forget it; it has ended, or is to end alone."""
        if self.child is not None and not stopping.is_set():
            self.child.wait()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


class ForkServer:
    """The parent's end: starts the server with the first request.

    Args:
        env: environment of the server, with the number of threads for all workers of it.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._folder = tempfile.mkdtemp(prefix="zsar-bench-")
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        own = {"HOME": self._folder, "TMPDIR": self._folder}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "zsar_bench.forkserver", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**env, **own},
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._ready = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self, job_file: str, descriptors: Sequence[int]) -> Started:
        """Fork a warden for a job; the descriptors are copied.

        Raises:
            NoForkServer: if the server cannot serve, or is gone.
        """
        with self._lock:
            if not self._ready:
                self._answer()
                self._ready = True
            try:
                socket.send_fds(self._socket, [job_file.encode()], descriptors)
            except OSError as error:
                raise NoForkServer(f"the fork server is gone ({error})") from None
            answer, received = self._answer()
            return Started(answer["pid"], received[0])

    def _answer(self) -> tuple[dict[str, Any], list[int]]:
        try:
            message, received, _, _ = socket.recv_fds(self._socket, REQUEST, 1)
        except OSError:
            message, received = b"", []
        answer = json.loads(message) if message else {"error": "the fork server ended"}
        if "error" in answer:
            raise NoForkServer(answer["error"])
        return answer, received

    def stop(self) -> None:
        """End it; whoever waits for it hears that it ended."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


_servers: dict[str, ForkServer] = {}  #: by the number of threads
_lock = threading.Lock()
problem = ""  #: why workers are started fresh although this is Linux; empty while all is well


def fork_warden(
    env: Mapping[str, str], threads: str, job_file: str, descriptors: Sequence[int]
) -> Started | None:
    """A warden from this process's fork server; ``None`` where there is none.

    Args:
        env: what the server's environment is if it has to be started.
        threads: CPU threads of the job.
    """
    global problem
    if not processes.LINUX:
        return None
    with _lock:
        if problem or stopping.is_set():
            return None
        server = _servers.get(threads)
        if server is None:
            server = _servers[threads] = ForkServer(env)
    try:
        return server.start(job_file, descriptors)
    except NoForkServer as error:
        with _lock:
            if _servers.get(threads) is server:
                del _servers[threads]
            problem = str(error)
        return None


def stop_servers() -> None:
    """End all fork servers; what waits for one goes on without."""
    with _lock:
        for server in _servers.values():
            server.stop()


# --- In the server -----------------------------------------------------------------------------


def serve(line: socket.socket) -> None:
    """Fork a warden a request until the parent is gone."""
    processes.adopt_orphans()  # of wardens that were killed
    if not _preload(line, PRELOADED):
        return
    _say(line, {"ready": True})
    later = time.monotonic() + LATER
    wardens: set[int] = set()
    poll = select.poll()
    poll.register(line, select.POLLIN)
    while True:
        _reap(wardens)
        if not poll.poll(REAP * 1000 if wardens else None):
            continue
        message, descriptors, _, _ = socket.recv_fds(line, REQUEST, 4)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            _become_warden(line, message.decode(), descriptors)
        wardens.add(pid)
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


def _become_warden(line: socket.socket, job_file: str, descriptors: list[int]) -> None:
    from zsar_bench.warden import watch

    try:
        line.close()
        os.setsid()
        watch(job_file, *descriptors)
    finally:
        os._exit(1)


def _reap(wardens: set[int]) -> None:
    """Bury wardens that ended. What one has left, because it was killed, is killed in turn."""
    while wardens:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            wardens.clear()
            return
        if not pid:
            break
        wardens.discard(pid)
    for child in processes.children(os.getpid()):
        if child not in wardens:
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
