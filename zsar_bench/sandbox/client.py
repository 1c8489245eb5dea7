"""Where plugin code runs: a worker process a job, spoken to through one pipe.

A worker is told everything in its job file: the code to import, the files it may open (its
bundle) and where to write. A supervisor of its own starts and watches it (``supervisor``);
workers that need torch are forked from a process that has imported it (``forkserver``). Nothing
that a worker answers is believed: what is not as it should be fails its run, and nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from zsar_bench.common.files import stopping, writing
from zsar_bench.errors import DataError, RunFailed, UserError
from zsar_bench.sandbox import launch
from zsar_bench.sandbox.confinement.audit import LONGEST, MOST
from zsar_bench.sandbox.confinement.confine import Confinement
from zsar_bench.sandbox.forkserver import Started, fork_supervisor, stop_servers
from zsar_bench.sandbox.wire import BrokenStream, Malformed, receive, send_json, send_tensors

FORKED = ("texts", "encoder", "fit", "score", "metric")  #: kinds of jobs that need torch
PRIVATE = "private"  #: a worker's own temporary files and caches, below its folder
LOG_TAIL = 2000  #: characters of a failed worker's log that are shown
LAST_WORD = 15.0  #: seconds a supervisor has to end its worker and say how it went

_running: set[Worker] = set()
_lock = threading.Lock()


def stop_all() -> None:
    """Kill every running worker and its children, and start no more; the user interrupts."""
    stopping.set()
    stop_servers()
    with _lock:
        for worker in _running:
            worker.stop()


class Worker:
    """A running job. Use as a context manager: leaving the block ends the process.

    Args:
        job: what to do; see ``zsar_bench.worker.jobs``.
        workdir: an existing folder for the job file, the log and whatever the job writes.
        on_event: called with every progress message.

    Attributes:
        process: the supervisor.
    """

    def __init__(
        self,
        job: Mapping[str, Any],
        workdir: Path,
        on_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        if stopping.is_set():
            raise RunFailed("interrupted")
        self._job = job
        workdir = workdir.absolute()  # supervisors stand elsewhere
        self._fate: dict[str, Any] | None = None
        kind = str(job["kind"])
        self._private = workdir / PRIVATE
        shutil.rmtree(self._private, ignore_errors=True)
        self._private.mkdir()
        settings = launch.settings(job, workdir, self._private)
        job_file = workdir / f"{kind}.job.json"
        with writing(job_file), _new_file(job_file) as file:
            told = json.dumps(job, indent=1, default=str).encode()
            if file.write(told) != len(told):  # what an unbuffered file does on a full disk
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._log = _new_file(workdir / f"{kind}.log")
        requests, to = os.pipe()
        from_, answers = os.pipe()
        self._to, self._from = os.fdopen(to, "wb"), os.fdopen(from_, "rb")
        self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        given = [requests, answers, control.fileno(), self._log.fileno()]
        try:
            self.process = _start(job, str(job_file), given, settings["env"])
        except BaseException:
            for end in (self._to, self._from, self._control, self._log):
                end.close()
            raise
        finally:
            control.close()
            os.close(requests)
            os.close(answers)
        self._answers = Answers(self._from, on_event)
        with _lock:
            _running.add(self)
        if stopping.is_set():  # since the look at the start: nobody else would stop it
            self.stop()
        with contextlib.suppress(BrokenStream):  # the answer, or the lack of one, says why
            send_json(self._to, settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        os.set_blocking(self._from.fileno(), False)  # all that can come is there
        with contextlib.suppress(BrokenStream):
            self._answers.drain()
        with contextlib.suppress(OSError):
            self._to.close()
        self._from.close()
        self._log.close()
        shutil.rmtree(self._private, ignore_errors=True)
        with _lock:
            _running.discard(self)

    @property
    def confinement(self) -> Confinement:
        """What stands around the worker, as it said before any plugin code ran.

        Raises:
            RunFailed: if it has not answered yet.
        """
        if self._answers.confinement is None:
            raise RunFailed("the worker has not said how it is confined")
        return self._answers.confinement

    @property
    def denied(self) -> dict[str, int]:
        """Accesses it was refused, as Python's audit events saw them, with their number."""
        return dict(self._answers.denied)

    def ask(self, message: Mapping[str, Any] | bytes) -> Any:
        """Send a request and wait for its answer."""
        try:
            if isinstance(message, bytes):
                send_tensors(self._to, message)
            else:
                send_json(self._to, message)
        except BrokenStream:
            pass  # it died: the answer, or the lack of one, says why
        return self.answer()

    def answer(self) -> Any:
        """The next answer: bytes (tensors) or a dict.

        Raises:
            UserError, DataError: as the job raised them.
            RunFailed: if the job failed in any other way, or says what it should not.
        """
        try:
            return self._answers.next()
        except Malformed as error:
            self._end()
            raise RunFailed(f"the worker's answer is {error}", self.log_tail()) from None
        except BrokenStream:
            raise self._died() from None
        except RunFailed as error:
            self._end()
            raise RunFailed(error.reason, self.log_tail(), error.status) from None

    def stop(self) -> None:
        """Let the supervisor end the worker and all it has started; does not wait. Thread-safe."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)

    def _end(self) -> None:
        """Stop the worker, unless it has ended, and hear how it went."""
        if self._fate is None:
            self.stop()
            self._fate = self._last_word()
            self._control.close()
            self.process.close()

    def _last_word(self) -> dict[str, Any]:
        """What the supervisor says at its end; empty if it was killed."""
        # Who interrupts does not wait: a supervisor that is slow now goes on alone.
        for wait in (1.0, 0.0) if stopping.is_set() else (LAST_WORD, 1.0):
            if select.select([self._control], [], [], wait)[0]:
                with contextlib.suppress(OSError, ValueError):
                    said = json.loads(self._control.recv(1 << 16))
                    return dict(said)
                return {}
            if not stopping.is_set():
                self.process.kill()
        return {}

    def _died(self) -> RunFailed:
        """It ended without an answer: of itself, or because a limit was passed."""
        if self._fate is None:
            # It may have closed its pipe and still run; a moment decides.
            select.select([self._control], [], [], 1.0)
        self._end()
        reason, status = _reason(self._fate or {}, self._job.get("limits") or {})
        return RunFailed("interrupted" if stopping.is_set() else reason, self.log_tail(), status)

    def log_tail(self) -> str:
        """The end of what the worker and its libraries wrote."""
        size = os.fstat(self._log.fileno()).st_size
        most = 4 * LOG_TAIL  # a sign has up to four bytes
        data = os.pread(self._log.fileno(), most, max(0, size - most))
        return data.decode("utf-8", "replace")[-LOG_TAIL:].strip()


def run_job(
    job: Mapping[str, Any],
    workdir: Path,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Run a job that needs no further requests; returns its answer."""
    with Worker(job, workdir, on_event) as worker:
        answer = worker.answer()
        if not isinstance(answer, dict):
            raise RunFailed("the worker sent tensors that nobody asked for", worker.log_tail())
        return answer


def _new_file(path: Path) -> IO[bytes]:
    """A file that was not there: no link that a worker has left in its place is followed."""
    path.unlink(missing_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o644), "w+b", buffering=0)


def _start(
    job: Mapping[str, Any], job_file: str, descriptors: list[int], env: dict[str, str]
) -> Started:
    """A supervisor: forked where torch is needed, else started fresh."""
    threads = str(int(job.get("threads", 1)))
    if job["kind"] in FORKED:
        forked = fork_supervisor(launch.base_environment(threads), threads, job_file, descriptors)
        if forked is not None:
            return forked
        if stopping.is_set():
            raise RunFailed("interrupted")
    child = subprocess.Popen(
        # -P: nothing is imported from the working folder, which plugins may write to.
        [
            sys.executable,
            "-P",
            "-m",
            "zsar_bench.worker.supervisor",
            job_file,
            *map(str, descriptors),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=env,
        cwd="/",
        pass_fds=descriptors,
        start_new_session=True,
    )
    return Started(child.pid, child=child)


def _reason(fate: Mapping[str, Any], limits: Mapping[str, Any]) -> tuple[str, str]:
    """Why a worker ended without an answer, and its status."""
    from signal import Signals

    if "timeout" in fate:
        return f"over the time limit of {fate['timeout']:g} s (--timeout)", "timeout"
    if fate.get("oom") == "limit":
        used, most = fate["peak"] / 2**30, limits["bytes"] / 2**30
        return f"{used:.2f} GiB, over the memory limit of {most:.2f} GiB (--memory-limit)", "oom"
    if "oom" in fate:
        return "killed because the machine ran out of memory", "oom"
    if "problem" in fate:
        return f"the worker could not be watched: {fate['problem']}", "failed"
    code = fate.get("code")
    if not fate:
        return "the worker's supervisor was ended from outside", "failed"
    if code is None or fate.get("stopped"):
        return "the worker closed its pipe before it had finished", "failed"
    if code < 0:
        return f"the worker was killed by {Signals(-code).name}", "failed"
    return f"the worker exited with code {code} before it had finished", "failed"


LARGEST = 1 << 33  #: bytes of one answer's tensors


WORD = 60  #: characters of a name in a progress message


#: What the parent itself says of a task; a worker's messages are not to pass for it.
RESERVED = ("state", "stage", "round", "time", "result", "reason", "log", "status")


class Answers:
    """The parent's end of a worker's answers.

    Args:
        stream: where they come from.
        on_event: called with every progress message.

    Attributes:
        walls: as the worker reported before any plugin code ran; ``None`` before.
        denied: accesses it was refused, with their number.
    """

    def __init__(
        self, stream: IO[bytes], on_event: Callable[[dict[str, Any]], None] | None
    ) -> None:
        self._stream = stream
        self._on_event = on_event
        self.confinement: Confinement | None = None
        self.denied: dict[str, int] = {}

    def next(self) -> dict[str, Any] | bytes:
        """The next answer that is meant for who asked.

        Raises:
            BrokenStream: at the end.
            Malformed: for what no worker of ours says.
            UserError, DataError, RunFailed: what the job raised, without its log.
        """
        while True:
            kind, payload = receive(self._stream, LARGEST)
            if kind == "T":
                return bytes(payload)
            if self.confinement is None:
                self.confinement = _walls(payload)
            elif "progress" in payload:
                event = _progress(payload["progress"])
                if self._on_event is not None and event:
                    self._on_event(event)
            elif "denied" in payload:
                self._take(payload["denied"])
            elif "error" in payload:
                raise _failure(payload["error"])
            else:
                return dict(payload)

    def drain(self) -> None:
        """Take note of what a worker that ended has said last."""
        self._on_event = None
        try:
            while True:
                self.next()
        except (Malformed, UserError, RunFailed):
            return

    def _take(self, counts: Any) -> None:
        if not isinstance(counts, dict):
            raise Malformed("denied accesses that are none")
        for what, count in counts.items():
            known = what in self.denied or len(self.denied) < MOST
            if known and what.isprintable() and len(what) <= LONGEST and type(count) is int:
                self.denied[what] = max(count, self.denied.get(what, 0))


def _walls(payload: dict[str, Any]) -> Confinement:
    """The first message. It is the worker's own: no plugin has run before it."""
    if "error" in payload:
        raise _failure(payload["error"])
    said = payload.get("confinement")
    names = {field.name for field in fields(Confinement)}
    if not isinstance(said, dict) or set(said) != names:
        raise Malformed("no walls were reported")
    return Confinement(**said)


def _progress(said: Any) -> dict[str, Any]:
    """A progress message: numbers and short texts by name, steps that are numbers of steps."""
    if not isinstance(said, dict):
        raise Malformed("a progress message that is none")
    event: dict[str, Any] = {}
    for name, value in said.items():
        if name in RESERVED or len(name) > WORD or not name.isprintable():
            continue
        if isinstance(value, str):
            if len(value) <= WORD and value.isprintable():
                event[name] = value
        elif isinstance(value, int | float):
            event[name] = value
    for name in ("step", "total", "clips"):
        if name in event and not (
            isinstance(event[name], int | float)
            and math.isfinite(event[name])
            and 0 <= event[name] <= 1e15
        ):
            raise Malformed(f"a progress message whose {name} is {event[name]!r:.40}")
    return event


def _failure(error: Any) -> Exception:
    said: Mapping[str, Any] = error if isinstance(error, dict) else {}
    what, hint = str(said.get("what", "the worker failed")), str(said.get("hint", ""))
    kind = said.get("kind")
    if kind == "data":
        return DataError(what, hint)
    if kind == "user":
        return UserError(what, hint)
    return RunFailed(what, status="oom" if kind == "oom" else "failed")
