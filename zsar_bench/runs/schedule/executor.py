"""Worker processes on this machine, a few at a time."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from zsar_bench.errors import RunFailed, StorageError, UserError, storage_error
from zsar_bench.runs.schedule.tasks import Task
from zsar_bench.sandbox.client import stop_all


class LocalExecutor:
    """A thread a job; each thread drives one worker process.

    Args:
        jobs: tasks that run at once.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def run(self, tasks: Sequence[Task], on_event: OnEvent) -> None:
        """Run every task whose needs succeed; reports the outcome of each through ``on_event``.

        Raises:
            KeyboardInterrupt: passed on after all workers were stopped.
        """
        waiting = {task.id: task for task in tasks}
        known = frozenset(waiting)
        fate: dict[str, str] = {}
        running: dict[Future[Any], Task] = {}
        pool = ThreadPoolExecutor(self.jobs, thread_name_prefix="job")
        try:
            while waiting or running:
                self._start(waiting, running, fate, known, pool, on_event)
                if not running:
                    continue
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    task = running.pop(future)
                    fate[task.id] = self._report(task, future, on_event)
        except BaseException:
            stop_all()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _start(
        self,
        waiting: dict[str, Task],
        running: dict[Future[Any], Task],
        fate: dict[str, str],
        known: frozenset[str],
        pool: ThreadPoolExecutor,
        on_event: OnEvent,
    ) -> None:
        for task in list(waiting.values()):
            states = [fate.get(need) for need in task.needs if need in known]
            if "failed" in states:
                del waiting[task.id]
                fate[task.id] = "failed"
                on_event(task, {"state": "skipped"})
            elif len(running) < self.jobs and all(s == "done" for s in states):
                del waiting[task.id]
                on_event(task, {"state": "started"})
                running[pool.submit(self._work, task, on_event)] = task

    @staticmethod
    def _work(task: Task, on_event: OnEvent) -> Any:
        return task.work(lambda event: on_event(task, event))

    @staticmethod
    def _report(task: Task, future: Future[Any], on_event: OnEvent) -> str:
        error = future.exception()
        if error is None:
            on_event(task, {"state": "done", "result": future.result()})
            return "done"
        failure = {"state": "failed", "status": "failed", "log": ""}
        if isinstance(error, RunFailed):
            failure |= {"reason": error.reason, "log": error.log, "status": error.status}
        elif isinstance(error, StorageError):
            raise error  # what the other runs would write is lost as well
        elif isinstance(error, OSError) and (refusal := storage_error(error)):
            raise refusal
        elif isinstance(error, UserError):
            failure |= {"reason": str(error)}
        elif isinstance(error, Exception):
            # A fault of ours: the other runs need not suffer from it.
            trace = "".join(traceback.format_exception(error))
            failure |= {"reason": f"{type(error).__name__}: {error}", "log": trace}
        else:
            raise error
        on_event(task, failure)
        return "failed"


#: Called as (task, event); events are {"state": "started"|"done"|"failed"|"skipped", ...} or
#: the progress of a stage. A failure has a "reason", a "log" and a "status" (failed, timeout, oom).
OnEvent = Callable[[Task, dict[str, Any]], None]
