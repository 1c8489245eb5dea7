"""A worker's job in a thread of this process, for debugging and for tests of logic. Unconfined.

``InProcessWorker`` has the interface of ``zsar_bench.sandbox.client.Worker``: the same messages,
the same checks of answers, the same errors. But plugin code can reach this process's memory, files
and labels, has no limits, and may break the process. So no command uses it, and a record made with
it has the level ``process``, the weakest. A test replaces a module's ``Worker`` by it; a debugger
then stops inside ``fit``.

Jobs run one at a time, since torch's random state belongs to the process; they change only while a
job waits for a request. This is the only module here that may import ``zsar_bench.worker``: by
name, when a job begins.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import random
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from zsar_bench.sandbox.client import LOG_TAIL, Answers, Worker
from zsar_bench.sandbox.confinement.confine import Confinement
from zsar_bench.sandbox.wire import BrokenStream

_turn = threading.Lock()  #: held by the job that runs


class _Stream:
    """Bytes from one thread to another; never full, so that nobody waits to write."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._closed = False
        self._changed = threading.Condition()

    def write(self, data: bytes) -> int:
        with self._changed:
            if self._closed:
                raise ValueError("the stream is closed")
            self._bytes += data
            self._changed.notify_all()
        return len(data)

    def read(self, size: int) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: self._bytes or self._closed)
            part = bytes(self._bytes[:size])
            del self._bytes[:size]
        return part

    def flush(self) -> None:
        """What is written is there."""

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class InProcessWorker(Worker):
    """A job in a thread; see the module's docstring, and ``Worker`` for its use.

    Attributes:
        process: nothing: there is none.
    """

    def __init__(
        self,
        job: Mapping[str, Any],
        workdir: Path,
        on_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._job = job
        self._workdir = workdir
        self._traceback = ""
        self._to = cast(Any, _Stream())
        self._from = cast(Any, _Stream())
        self._answers = Answers(self._from, on_event)
        self._thread = threading.Thread(target=self._work, name=str(job["kind"]), daemon=True)
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._end()
        with contextlib.suppress(BrokenStream):
            self._answers.drain()

    def stop(self) -> None:
        """Let the job end at its next request or message; what computes is not interrupted."""
        self._to.close()

    def log_tail(self) -> str:
        """The traceback, if the job failed; what plugins print is not caught."""
        return self._traceback[-LOG_TAIL:].strip()

    def _end(self) -> None:
        self.stop()
        self._thread.join()

    def _work(self) -> None:
        main = importlib.import_module("zsar_bench.worker.main")
        jobs = importlib.import_module("zsar_bench.worker.jobs")

        class Pipe(main.Pipe):  # type: ignore[misc, name-defined]
            """A pipe whose job lets others run while it waits."""

            def requests(self) -> Iterator[Any]:
                waiting = super().requests()
                while True:
                    state = _random_state()
                    _turn.release()
                    try:
                        request = next(waiting, None)
                    finally:
                        _turn.acquire()
                    _set_random_state(state)
                    if request is None:
                        return
                    yield request

        line = Pipe(self._to, self._from)
        with _turn:
            before = _random_state()
            try:
                # As JSON would bring it, so that a plugin cannot change what the parent holds.
                job = json.loads(json.dumps(self._job, default=str))
                line.send({"confinement": asdict(Confinement("process", 0, *5 * (False,)))})
                for file in job.get("plugin_files", ()):
                    main.import_file(Path(file))
                jobs.RUN[job["kind"]](job, line)
            except BrokenStream:
                pass  # nobody listens
            except BaseException as error:
                self._traceback = traceback.format_exc()
                with contextlib.suppress(BrokenStream):
                    line.send({"error": main._as_json(error)})
            finally:
                _set_random_state(before)
        self._from.close()


def _random_state() -> tuple[Any, ...]:
    """What the process's random numbers and torch's threads are at."""
    import numpy as np
    import torch

    numbers = random.getstate(), np.random.get_state(), torch.get_rng_state()
    return *numbers, torch.get_num_threads()


def _set_random_state(state: tuple[Any, ...]) -> None:
    import numpy as np
    import torch

    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.set_rng_state(state[2])
    torch.set_num_threads(state[3])
