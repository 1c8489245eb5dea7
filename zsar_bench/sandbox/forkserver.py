"""The parent's end of the fork server."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zsar_bench.common.files import stopping
from zsar_bench.sandbox import processes

REQUEST = 1 << 16  #: bytes of the longest request


class NoForkServer(Exception):
    """The fork server cannot be used; workers are started as new processes, which is slower."""


@dataclass
class Started:
    """A running supervisor; a forked one is reaped by the fork server and signalled by pidfd."""

    pid: int
    pidfd: int = -1
    child: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        """Kill the supervisor, because it does not respond."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.child is not None:
                self.child.kill()
            else:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Release the process: it has ended, or will end by itself."""
        if self.child is not None and not stopping.is_set():
            self.child.wait()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


class ForkServer:
    """The parent's end: starts the server with the first request.

    Args:
        env: environment of the server; sets the number of threads of all its workers.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._folder = tempfile.mkdtemp(prefix="zsar-bench-")
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        folders = {"HOME": self._folder, "TMPDIR": self._folder}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "zsar_bench.worker.forkserver", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**env, **folders},
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._ready = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self, job_file: str, descriptors: Sequence[int]) -> Started:
        """Fork a supervisor for a job; the descriptors are copied.

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
        """End the server; threads that wait for it get ``NoForkServer``."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


_servers: dict[str, ForkServer] = {}  #: by the number of threads


_lock = threading.Lock()


problem = ""  #: why the fork server is not used on Linux; empty if it is


def fork_supervisor(
    env: Mapping[str, str], threads: str, job_file: str, descriptors: Sequence[int]
) -> Started | None:
    """A supervisor from this process's fork server; ``None`` if it cannot be used.

    Args:
        env: environment of the server, if it has to be started.
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
    """End all fork servers."""
    with _lock:
        for server in _servers.values():
            server.stop()
