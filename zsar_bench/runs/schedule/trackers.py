"""Experiment trackers: plugins that implement ``run_event`` get events of runs in a worker."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from zsar_bench.catalogue.catalogue import Catalogue
from zsar_bench.errors import RunFailed, UserError
from zsar_bench.runs.schedule.tasks import Task
from zsar_bench.sandbox.client import Worker


class Trackers:
    """Forwards events to the plugins that want them. A broken tracker never fails a run."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._sources = [
            {"kind": row["kind"], "name": row["name"], "value": row["source"]}
            for row in catalogue.data["plugins"]
            if "run_event" in row["hooks"]
        ]
        self._worker: Worker | None = None
        self._lock = threading.Lock()
        #: Why nothing is forwarded any more; empty if it is.
        self.problem = ""

    def __enter__(self) -> Self:
        if self._sources:
            self._folder = tempfile.TemporaryDirectory(prefix="zsar-bench-")
            job = {"kind": "track", "sources": self._sources}
            self._worker = Worker(job, Path(self._folder.name))
            self._guarded(self._worker.answer)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._worker is not None:
            self._worker.__exit__(None, None, None)
            self._folder.cleanup()

    def record(self, task: Task, event: dict[str, Any]) -> None:
        """Forward an event of an executor as JSON."""
        if self._worker is None or self.problem:
            return
        message = {"task": task.title, "runs": list(task.runs), **event}
        if "result" in message:
            result = message.pop("result")
            if task.id.startswith("run:"):
                message["record"] = result.model_dump(mode="json")
        worker = self._worker
        with self._lock:
            self._guarded(lambda: worker.ask(message))

    def _guarded(self, ask: Any) -> None:
        try:
            ask()
        except (RunFailed, UserError) as error:
            self.problem = str(error)
