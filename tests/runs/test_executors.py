"""The local executor: what a task's end means for itself and for the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from zsar_bench.errors import RunFailed, UserError
from zsar_bench.runs.schedule.executor import LocalExecutor
from zsar_bench.runs.schedule.tasks import Task

FAILURES: dict[str, tuple[Exception, dict[str, str]]] = {
    "timeout": (
        RunFailed("too slow", "a log", "timeout"),
        {"reason": "too slow", "log": "a log", "status": "timeout"},
    ),
    "user": (UserError("no such file"), {"reason": "no such file", "log": "", "status": "failed"}),
    "bug": (KeyError("scores"), {"reason": "KeyError: 'scores'", "status": "failed"}),
    "disk": (OSError(28, "No space left on device"), {"status": "failed"}),
}


def raising(error: BaseException) -> Callable[..., Any]:
    def work(on_event: Callable[..., None]) -> None:
        raise error

    return work


@pytest.mark.parametrize("kind", FAILURES)
def test_whatever_a_task_raises_fails_it_and_what_needs_it(kind: str) -> None:
    error, expected = FAILURES[kind]
    tasks = [
        Task("one", "one", (), raising(error)),
        Task("two", "two", ("one",), lambda on_event: "never"),
        Task("three", "three", (), lambda on_event: "fine"),
    ]
    heard: list[tuple[str, dict[str, Any]]] = []
    LocalExecutor(2).run(tasks, lambda task, event: heard.append((task.id, event)))
    ends = {id: event for id, event in heard if event["state"] != "started"}
    assert ends["one"]["state"] == "failed"
    assert expected.items() <= ends["one"].items()
    assert ends["two"] == {"state": "skipped"}
    assert ends["three"] == {"state": "done", "result": "fine"}


def test_a_fault_of_ours_shows_where() -> None:
    heard: list[dict[str, Any]] = []
    task = Task("one", "one", (), raising(ZeroDivisionError("by zero")))
    LocalExecutor(1).run([task], lambda task, event: heard.append(event))
    assert "in work" in heard[-1]["log"]
    assert heard[-1]["reason"] == "ZeroDivisionError: by zero"
