"""``toy-serial``: an executor."""

from __future__ import annotations

from zsar_bench.runs.schedule.executor import LocalExecutor


class Serial(LocalExecutor):
    """The local executor with one worker."""

    def __init__(self, jobs: int) -> None:
        super().__init__(1)
