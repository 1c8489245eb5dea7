"""A worker: a process that runs one job.

It is a supervisor's child. Before any plugin code runs, it closes all inherited descriptors except
those of its pipe, sets its own environment, confines itself and reports its confinement to the
parent. Output of plugins goes to the log.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from importlib import invalidate_caches
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

from zsar_bench.catalogue.loading import import_file
from zsar_bench.common.code_digest import unchanged
from zsar_bench.errors import DataError, UserError
from zsar_bench.sandbox import processes, wire
from zsar_bench.sandbox.confinement.audit import AccessAudit
from zsar_bench.sandbox.confinement.confine import Confinement, confine
from zsar_bench.sandbox.confinement.rules import Rules
from zsar_bench.sandbox.wire import BrokenStream, receive, send_json
from zsar_bench.worker.jobs import RUN

if TYPE_CHECKING:
    import torch

NO_MEMORY = ("DefaultCPUAllocator: ", "CUDA out of memory", "std::bad_alloc")
SLACK = 1.25  #: RLIMIT_DATA / memory limit: the former counts untouched memory, too


class Pipe:
    """The worker's side of the pipe."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes]) -> None:
        self._requests = requests
        self._answers = answers
        self._lock = threading.RLock()
        self._busy = False
        self._denied: dict[str, int] = {}

    def send(self, message: dict[str, Any]) -> None:
        """Send JSON."""
        with self._frame():
            send_json(self._answers, message)

    def send_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """Send tensors."""
        from safetensors.torch import save

        blob = save(tensors)
        with self._frame():
            wire.send_tensors(self._answers, blob)

    def progress(self, event: dict[str, Any]) -> None:
        """Report progress. Raises ``BrokenStream`` if the parent has ended."""
        self.send({"progress": event})

    def denied(self, counts: dict[str, int], new: bool) -> None:
        """Report refused accesses: a new kind at once, repetitions with the next answer."""
        self._denied = counts
        # This very thread may be writing a frame just now.
        if new and self._lock.acquire(blocking=False):
            try:
                if not self._busy:
                    with contextlib.suppress(BrokenStream), self._frame():
                        pass
            finally:
                self._lock.release()

    @contextlib.contextmanager
    def _frame(self) -> Iterator[None]:
        with self._lock:
            self._busy = True
            try:
                if self._denied:
                    counts, self._denied = dict(self._denied), {}
                    send_json(self._answers, {"denied": counts})
                yield
            finally:
                self._busy = False

    def requests(self) -> Iterator[Any]:
        """Requests until the parent closes the pipe: dicts, or dicts of tensors."""
        while True:
            try:
                kind, payload = receive(self._requests)
            except BrokenStream:
                return
            if kind == "T":
                from zsar_bench.sandbox.wire import unpack

                payload = unpack(payload)
            yield payload


def begin(
    job: dict[str, Any], settings: dict[str, Any], requests: int, answers: int, printed: int
) -> NoReturn:
    """Run a job in a process that was just forked; never returns.

    Args:
        job: what to do; see ``zsar_bench.worker.jobs``.
        settings: ``env``, ``path`` (the import path), ``private`` (an empty folder of its
            own), ``rules`` (``None``: not confined) and ``protected``.
        requests, answers, printed: descriptors of the pipe's ends and of the output.
    """
    code = 1
    try:
        line = _isolate(requests, answers, printed)
        _set_up(job, settings)
        try:
            confinement = _confine(settings, line)
            line.send({"confinement": asdict(confinement)})
            if not unchanged(job.get("code", ()), job.get("code_state", "")):
                raise UserError(
                    "A plugin's files have changed since this command began.", "Type it again."
                )
            for file in job.get("plugin_files", ()):
                import_file(Path(file))
            RUN[job["kind"]](job, line)
            code = 0
        except BrokenStream:
            pass  # the parent has ended
        except BaseException as error:
            with contextlib.suppress(Exception):
                traceback.print_exc()
            with contextlib.suppress(BrokenStream):
                line.send({"error": _as_json(error)})
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        os._exit(code)


def _isolate(requests: int, answers: int, printed: int) -> Pipe:
    """Start a session; close all descriptors but the pipe and the standard ones."""
    os.setsid()
    processes.die_with_parent()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    for name in os.listdir("/dev/fd"):
        if int(name) > 2 and int(name) not in (requests, answers):
            with contextlib.suppress(OSError):  # the descriptor of this listing is closed by now
                os.close(int(name))
    for descriptor in (requests, answers):
        os.set_inheritable(descriptor, False)
    return Pipe(os.fdopen(requests, "rb"), os.fdopen(answers, "wb"))


def _set_up(job: dict[str, Any], settings: dict[str, Any]) -> None:
    """Set environment, folder and limits, and reset what a fork inherits."""
    os.environ.clear()
    os.environ.update(settings["env"])
    os.chdir(settings["private"])
    tempfile.tempdir = None
    sys.path[:] = settings["path"]
    invalidate_caches()
    if "numpy" in sys.modules:
        import numpy as np

        np.random.seed()  # otherwise all workers of a fork server would draw the same
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = (job.get("limits") or {}).get("bytes")
    if most is not None and processes.LINUX and job.get("device", "cpu") == "cpu":
        # Refuses an allocation that is faster than the supervisor's next check.
        size = int(SLACK * most) + processes.data_size()
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def _confine(settings: dict[str, Any], line: Pipe) -> Confinement:
    """Confine the process, if the job is a confined one."""
    if settings["rules"] is None:
        return Confinement("process", 0, False, False, False, False, False)
    values = settings["rules"]
    paths = {name: tuple(values[name]) for name in ("read", "names", "write")}
    rules = Rules(**paths, network=values["network"])
    confinement = confine(rules)
    if confinement.files:
        sys.addaudithook(AccessAudit(rules, settings["protected"], line.denied).record)
    return confinement


def _as_json(error: BaseException) -> dict[str, str]:
    if isinstance(error, UserError):
        kind = "data" if isinstance(error, DataError) else "user"
        return {"kind": kind, "what": error.what, "hint": error.hint}
    text = " ".join(str(error).split())[:300]
    return {
        "kind": "oom" if _is_out_of_memory(error) else "failed",
        "what": f"{type(error).__name__}: {text}" if text else type(error).__name__,
    }


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in NO_MEMORY)
