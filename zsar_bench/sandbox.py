"""Where plugin code runs: a worker process a job, spoken to through one pipe.

A worker is told everything in its job file: the code to import, the files it may open (its
bundle) and where to write. The level of confinement is ``process``: a process of its own, a
clean environment and no inherited descriptors but the pipe.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from zsar_bench.errors import DataError, RunFailed, UserError
from zsar_bench.pipes import BrokenStream, receive, send_json, send_tensors
from zsar_bench.stopping import stopping

CONFINEMENT = "process"
KEPT = (
    *("PATH", "LANG", "LC_ALL", "HOME", "TMPDIR", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"),
    # Where named models are cached, and the way to them for a text encoder that downloads one.
    *("XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
KEPT_PREFIXES = ("HF_", "ZSAR_BENCH_", "VIRTUAL_ENV")
LOG_TAIL = 2000  #: characters of a failed worker's log that are shown

_running: set[subprocess.Popen[bytes]] = set()
_lock = threading.Lock()


def stop_all() -> None:
    """Kill every running worker and its children, and start no more; the user interrupts."""
    stopping.set()
    with _lock:
        for process in _running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def _environment(threads: int, workdir: Path) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if k in KEPT or k.startswith(KEPT_PREFIXES)}
    env.pop("ZSAR_BENCH_HOME", None)  # a worker gets its files named, not the store
    env |= {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    env |= {
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCHINDUCTOR_CACHE_DIR": str(workdir / "inductor"),
    }
    return env


class Worker:
    """A running job. Use as a context manager: leaving the block ends the process.

    Args:
        job: what to do; see ``zsar_bench.worker``.
        workdir: an existing folder for the job file, the log and whatever the job writes.
        on_event: called with every progress message.
    """

    def __init__(
        self,
        job: Mapping[str, Any],
        workdir: Path,
        on_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        if stopping.is_set():
            raise RunFailed("interrupted")
        self.on_event = on_event
        self.log = workdir / f"{job['kind']}.log"
        job_file = workdir / f"{job['kind']}.job.json"
        job_file.write_text(json.dumps(job, indent=1, default=str), "utf-8")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                # -P: nothing is imported from the working folder, which plugins may write to.
                [sys.executable, "-P", "-m", "zsar_bench.worker", str(job_file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(int(job.get("threads", 1)), workdir),
                cwd=workdir,
                start_new_session=True,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._to = self.process.stdin
        self._from = self.process.stdout
        with _lock:
            _running.add(self.process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._to.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # Whatever a plugin left running goes too.
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._from.close()
        with _lock:
            _running.discard(self.process)

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
            RunFailed: if the job failed in any other way.
        """
        while True:
            try:
                kind, payload = receive(self._from)
            except BrokenStream:
                raise self._died() from None
            if kind == "J" and "progress" in payload:
                if self.on_event is not None:
                    self.on_event(payload["progress"])
                continue
            if kind == "J" and "error" in payload:
                raise self._failure(payload["error"])
            return payload

    def _failure(self, error: dict[str, str]) -> Exception:
        if error["kind"] == "data":
            return DataError(error["what"], error.get("hint", ""))
        if error["kind"] == "user":
            return UserError(error["what"], error.get("hint", ""))
        return RunFailed(error["what"], self.log_tail())

    def _died(self) -> RunFailed:
        code = self.process.wait()
        if code < 0:
            reason = f"the worker was killed by {signal.Signals(-code).name}"
        else:
            reason = f"the worker exited with code {code} before it had finished"
        return RunFailed(reason, self.log_tail())

    def log_tail(self) -> str:
        """The end of what the worker and its libraries wrote."""
        with contextlib.suppress(OSError):
            return self.log.read_text("utf-8", "replace")[-LOG_TAIL:].strip()
        return ""


def run_job(
    job: Mapping[str, Any],
    workdir: Path,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Run a job that needs no further requests; returns its answer."""
    with Worker(job, workdir, on_event) as worker:
        answer: dict[str, Any] = worker.answer()
        return answer
