"""Executors: where tasks run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from zsar_bench.tasks import Task

#: Called as (task, event); events are {"state": "started"|"done"|"failed"|"skipped", ...} or
#: the progress of a stage. A failure has a "reason", a "log" and a "status" (failed, timeout, oom).
OnEvent = Callable[[Task, dict[str, Any]], None]


class Executor(Protocol):
    """Runs tasks, each after those it needs; one that fails skips those that need it."""

    def __init__(self, jobs: int) -> None: ...

    def run(self, tasks: Sequence[Task], on_event: OnEvent) -> None: ...
