"""Workers: plugin code runs in one process per job, which the parent controls through a pipe.

The job file names everything that a worker needs: the code to import, the files it may open (its
bundle) and where to write. A supervisor starts and watches it (``supervisor``); workers that need
torch are forked from a process that has imported it (``forkserver``). Answers of a worker are
untrusted input: every answer is checked, and an invalid one fails its run only.
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
REPORT_SECONDS = 15.0  #: seconds that a supervisor has to end its worker and to report

_running: set[Worker] = set()
_lock = threading.Lock()


def stop_all() -> None:
    """Kill every running worker and its children after an interrupt, and start no more."""
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
        workdir = workdir.absolute()  # supervisors have another working folder
        self._outcome: dict[str, Any] | None = None
        kind = str(job["kind"])
        self._private = workdir / PRIVATE
        shutil.rmtree(self._private, ignore_errors=True)
        self._private.mkdir()
        settings = launch.settings(job, workdir, self._private)
        job_file = workdir / f"{kind}.job.json"
        with writing(job_file), _new_file(job_file) as file:
            content = json.dumps(job, indent=1, default=str).encode()
            if file.write(content) != len(content):  # an unbuffered file on a full disk
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._log = _new_file(workdir / f"{kind}.log")
        requests, to = os.pipe()
        from_, answers = os.pipe()
        self._to, self._from = os.fdopen(to, "wb"), os.fdopen(from_, "rb")
        self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        descriptors = [requests, answers, control.fileno(), self._log.fileno()]
        try:
            self.process = _start(job, str(job_file), descriptors, settings["env"])
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
        if stopping.is_set():  # set since the check above, so ``stop_all`` has missed this worker
            self.stop()
        with contextlib.suppress(BrokenStream):  # ``answer`` reports why
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
        os.set_blocking(self._from.fileno(), False)  # the worker has ended: read what is left
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
        """How the worker is confined, as it reported before any plugin code ran.

        Raises:
            RunFailed: if it has not reported yet.
        """
        if self._answers.confinement is None:
            raise RunFailed("the worker has not reported how it is confined")
        return self._answers.confinement

    @property
    def denied(self) -> dict[str, int]:
        """Refused accesses -> how often, according to Python's audit events."""
        return dict(self._answers.denied)

    def ask(self, message: Mapping[str, Any] | bytes) -> Any:
        """Send a request and wait for its answer."""
        try:
            if isinstance(message, bytes):
                send_tensors(self._to, message)
            else:
                send_json(self._to, message)
        except BrokenStream:
            pass  # the worker ended: ``answer`` reports why
        return self.answer()

    def answer(self) -> Any:
        """The next answer: bytes (tensors) or a dict.

        Raises:
            UserError, DataError: as the job raised them.
            RunFailed: if the job failed in any other way, or the answer is invalid.
        """
        try:
            return self._answers.next()
        except Malformed as error:
            self._end()
            raise RunFailed(f"the worker's answer is {error}", self.log_tail()) from None
        except BrokenStream:
            raise self._unanswered() from None
        except RunFailed as error:
            self._end()
            raise RunFailed(error.reason, self.log_tail(), error.status) from None

    def stop(self) -> None:
        """Make the supervisor end the worker and its descendants; does not wait. Thread-safe."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)

    def _end(self) -> None:
        """Stop the worker, unless it has ended, and receive the supervisor's report."""
        if self._outcome is None:
            self.stop()
            self._outcome = self._receive_report()
            self._control.close()
            self.process.close()

    def _receive_report(self) -> dict[str, Any]:
        """The supervisor's final report; empty if it was killed."""
        # After an interrupt do not wait: a slow supervisor finishes by itself.
        for wait in (1.0, 0.0) if stopping.is_set() else (REPORT_SECONDS, 1.0):
            if select.select([self._control], [], [], wait)[0]:
                with contextlib.suppress(OSError, ValueError):
                    report = json.loads(self._control.recv(1 << 16))
                    return dict(report)
                return {}
            if not stopping.is_set():
                self.process.kill()
        return {}

    def _unanswered(self) -> RunFailed:
        """The error for a worker that ended without an answer, by itself or beyond a limit."""
        if self._outcome is None:
            # It may have closed its pipe and still be running.
            select.select([self._control], [], [], 1.0)
        self._end()
        reason, status = _reason(self._outcome or {}, self._job.get("limits") or {})
        return RunFailed("interrupted" if stopping.is_set() else reason, self.log_tail(), status)

    def log_tail(self) -> str:
        """The end of the worker's log."""
        size = os.fstat(self._log.fileno()).st_size
        length = 4 * LOG_TAIL  # a character has up to four bytes
        data = os.pread(self._log.fileno(), length, max(0, size - length))
        return data.decode("utf-8", "replace")[-LOG_TAIL:].strip()


def run_job(
    job: Mapping[str, Any],
    workdir: Path,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Run a job that gets no requests; returns its answer."""
    with Worker(job, workdir, on_event) as worker:
        answer = worker.answer()
        if not isinstance(answer, dict):
            raise RunFailed("the worker sent tensors that nobody asked for", worker.log_tail())
        return answer


def _new_file(path: Path) -> IO[bytes]:
    """Create a new file; a link that a worker has left in its place is not followed."""
    path.unlink(missing_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o644), "w+b", buffering=0)


def _start(
    job: Mapping[str, Any], job_file: str, descriptors: list[int], env: dict[str, str]
) -> Started:
    """Start a supervisor: forked if the job needs torch, else as a new process."""
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


def _reason(outcome: Mapping[str, Any], limits: Mapping[str, Any]) -> tuple[str, str]:
    """Why a worker ended without an answer, and the status of its run."""
    from signal import Signals

    if "timeout" in outcome:
        return f"over the time limit of {outcome['timeout']:g} s (--timeout)", "timeout"
    if outcome.get("oom") == "limit":
        used, most = outcome["peak"] / 2**30, limits["bytes"] / 2**30
        return f"{used:.2f} GiB, over the memory limit of {most:.2f} GiB (--memory-limit)", "oom"
    if "oom" in outcome:
        return "killed because the machine ran out of memory", "oom"
    if "problem" in outcome:
        return f"the worker could not be watched: {outcome['problem']}", "failed"
    code = outcome.get("code")
    if not outcome:
        return "the worker's supervisor was ended from outside", "failed"
    if code is None or outcome.get("stopped"):
        return "the worker closed its pipe before it had finished", "failed"
    if code < 0:
        return f"the worker was killed by {Signals(-code).name}", "failed"
    return f"the worker exited with code {code} before it had finished", "failed"


LARGEST = 1 << 33  #: bytes of one answer's tensors


LONGEST_TEXT = 60  #: characters of a name or text in a progress message


#: Fields of events that the parent sets itself; a worker may not send them.
RESERVED = ("state", "stage", "round", "time", "result", "reason", "log", "status")


class Answers:
    """Reads and checks a worker's answers.

    Args:
        stream: the worker's end writes answers to it.
        on_event: called with every progress message.

    Attributes:
        confinement: as the worker reported it before any plugin code ran; ``None`` before.
        denied: refused accesses -> how often.
    """

    def __init__(
        self, stream: IO[bytes], on_event: Callable[[dict[str, Any]], None] | None
    ) -> None:
        self._stream = stream
        self._on_event = on_event
        self.confinement: Confinement | None = None
        self.denied: dict[str, int] = {}

    def next(self) -> dict[str, Any] | bytes:
        """The next answer to a request; progress and refused accesses are handled here.

        Raises:
            BrokenStream: at the end.
            Malformed: for an invalid message.
            UserError, DataError, RunFailed: as the job raised them, without its log.
        """
        while True:
            kind, payload = receive(self._stream, LARGEST)
            if kind == "T":
                return bytes(payload)
            if self.confinement is None:
                self.confinement = _confinement(payload)
            elif "progress" in payload:
                event = _progress(payload["progress"])
                if self._on_event is not None and event:
                    self._on_event(event)
            elif "denied" in payload:
                self._count_denied(payload["denied"])
            elif "error" in payload:
                raise _failure(payload["error"])
            else:
                return dict(payload)

    def drain(self) -> None:
        """Process the last messages of a worker that has ended."""
        self._on_event = None
        try:
            while True:
                self.next()
        except (Malformed, UserError, RunFailed):
            return

    def _count_denied(self, counts: Any) -> None:
        if not isinstance(counts, dict):
            raise Malformed("an invalid table of denied accesses")
        for what, count in counts.items():
            known = what in self.denied or len(self.denied) < MOST
            if known and what.isprintable() and len(what) <= LONGEST and type(count) is int:
                self.denied[what] = max(count, self.denied.get(what, 0))


def _confinement(payload: dict[str, Any]) -> Confinement:
    """The first message. It can be trusted: no plugin code has run before it."""
    if "error" in payload:
        raise _failure(payload["error"])
    reported = payload.get("confinement")
    names = {field.name for field in fields(Confinement)}
    if not isinstance(reported, dict) or set(reported) != names:
        raise Malformed("no confinement was reported")
    return Confinement(**reported)


def _progress(message: Any) -> dict[str, Any]:
    """A checked progress message: numbers and short texts by name, and valid step numbers."""
    if not isinstance(message, dict):
        raise Malformed("an invalid progress message")
    event: dict[str, Any] = {}
    for name, value in message.items():
        if name in RESERVED or len(name) > LONGEST_TEXT or not name.isprintable():
            continue
        if isinstance(value, str):
            if len(value) <= LONGEST_TEXT and value.isprintable():
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
    message: Mapping[str, Any] = error if isinstance(error, dict) else {}
    what, hint = str(message.get("what", "the worker failed")), str(message.get("hint", ""))
    kind = message.get("kind")
    if kind == "data":
        return DataError(what, hint)
    if kind == "user":
        return UserError(what, hint)
    return RunFailed(what, status="oom" if kind == "oom" else "failed")
