"""What a running command shows: a row a run that fills as it goes, and the work in hand."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.reporters.terminal import error_console
from zsar_bench.reporters.words import MEAN_CLASS, TOP1, percent, seconds
from zsar_bench.runs.schedule.tasks import Task

Event = dict[str, Any]


def make_display(plans: list[RunPlan], tasks: list[Task], jobs: int, quiet: bool) -> Display:
    """A live table on a terminal, a line a finished run elsewhere, failures only if quiet."""
    console = error_console()
    if quiet:
        return Display(console, plans, tasks, jobs, lines=False)
    if console.is_terminal or console.is_jupyter:
        return LiveDisplay(console, plans, tasks, jobs, lines=False)
    return Display(console, plans, tasks, jobs, lines=True)


class Progress:
    """How far one running task is."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.started = time.monotonic()
        self.event: Event = {}
        self._stage = ""
        self._stage_started = self.started
        self._first_step = 0

    def record(self, event: Event) -> None:
        """Take the newest event."""
        if event.get("stage", "") != self._stage:
            self._stage = event.get("stage", "")
            self._stage_started = time.monotonic()
            self._first_step = int(event.get("step", 0))
        self.event = event

    def left(self) -> float | None:
        """Seconds left of the stage; None while nothing can be said."""
        step, total = self.event.get("step", 0), self.event.get("total", 0)
        elapsed = time.monotonic() - self._stage_started
        advanced = step - self._first_step
        if advanced <= 0 or elapsed < 0.5:
            return None
        return float(elapsed / advanced * (total - step))


class Display:
    """Hears of every task; prints a line when a run ends.

    Attributes:
        failed: runs that failed, with their reasons.
        statuses: of these runs: failed, timeout or oom.
    """

    def __init__(
        self, console: Console, plans: list[RunPlan], tasks: list[Task], jobs: int, lines: bool
    ) -> None:
        self.console = console
        self.plans = {plan.run_id: plan for plan in plans}
        self.tasks = tasks
        self.jobs = jobs
        self.lines = lines
        self.running: dict[str, Progress] = {}
        self.ended: dict[str, float] = {}
        self.results: dict[str, Any] = {}
        self.failed: dict[str, str] = {}
        self.statuses: dict[str, str] = {}
        self.lock = threading.Lock()

    def __enter__(self) -> Self:
        cached = sum(plan.done for plan in self.plans.values())
        if cached and self.lines:
            self.console.print(f"{cached} of {len(self.plans)} runs are already there.")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to undo."""

    def record(self, task: Task, event: Event) -> None:
        """Take an event of an executor; called from several threads."""
        with self.lock:
            self._hear(task, event)

    def _hear(self, task: Task, event: Event) -> None:
        state = event.get("state")
        if state is None:
            if "note" in event:
                self.say(event["note"])
            if task.id in self.running:
                self.running[task.id].record(event)
            return
        if state == "started":
            self.running[task.id] = Progress(task.title)
            return
        progress = self.running.pop(task.id, None)
        if progress is not None:
            self.ended[task.id] = time.monotonic() - progress.started
        if state == "failed":
            status = event.get("status", "failed")
            self._failure(task, event["reason"], event.get("log", ""), status)
        elif state == "done" and task.id.startswith("run:"):
            self.results[task.runs[0]] = event["result"]
            self.finished(task, event["result"])

    def _failure(self, task: Task, reason: str, log: str, status: str) -> None:
        for run in task.runs:
            self.failed.setdefault(run, reason)
            self.statuses.setdefault(run, status)
        self.say(f"{status}: {task.title}: {reason}")
        if log:
            self.say("\n".join(f"    {line}" for line in log.splitlines()[-6:]))

    def finished(self, task: Task, record: Any) -> None:
        """A run is complete."""
        if self.lines:
            m = record.metrics
            label = self.plans[record.run_id].label
            self.say(
                f"done: {label} seeds {record.encoder_seed}/{record.method_seed}: "
                f"top-1 {percent(m.top1)} mean class {percent(m.mean_class)} "
                f"({len(self.results)} of {len(self.plans)})"
            )

    def say(self, text: str) -> None:
        """Print literally."""
        self.console.print(text, markup=False, soft_wrap=True)


class LiveDisplay(Display):
    """The same on a terminal: redrawn four times a second while the block lasts."""

    def __enter__(self) -> Self:
        self.started = time.monotonic()
        self.live = Live(
            get_renderable=self.render,
            console=self.console,
            refresh_per_second=4,
            transient=True,
        )
        self.live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.live.__exit__(kind, error, trace)

    def render(self) -> RenderableType:
        """The table of runs above the tasks in hand."""
        with self.lock:
            parts = [self._runs(), Text(), *(self._task(p) for p in self.running.values())]
            return Group(*parts, Text(self._summary(), style="dim"))

    def _runs(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for heading in ("method", "seeds", "state", TOP1, MEAN_CLASS, "time"):
            table.add_column(heading, no_wrap=True, overflow="ellipsis")
        rows = sorted(self.plans.items(), key=lambda item: self._order(item[0]))
        room = max(3, self.console.height - len(self.running) - 6)
        for run, plan in rows[:room]:
            table.add_row(
                Text(plan.label),
                f"{plan.encoder_seed}/{plan.method_seed}",
                *self._cells(run, plan),
            )
        if len(rows) > room:
            table.add_row(Text(f"and {len(rows) - room} more", style="dim"))
        return table

    def _order(self, run: str) -> int:
        """Runs being worked on first where there is no room for all."""
        if len(self.plans) + len(self.running) + 6 <= self.console.height:
            return 0
        active = {r for t in self.tasks if t.id in self.running for r in t.runs[:1]}
        return 0 if run in active else 1 if run in self.results else 2

    def _cells(self, run: str, plan: RunPlan) -> list[Text]:
        if run in self.failed:
            return [Text(self.statuses[run], style="red"), *(Text("") for _ in range(3))]
        record = self.results.get(run)
        if record is not None:
            m, s = record.metrics, record.seconds
            return [
                Text("done", style="green"),
                Text(percent(m.top1)),
                Text(percent(m.mean_class)),
                Text(seconds(s.fit + s.score)),
            ]
        state = "cached" if plan.done else "waiting"
        stages = [
            p.event.get("stage", "starting")
            for t in self.tasks
            if run in t.runs and (p := self.running.get(t.id)) is not None
        ]
        return [Text(stages[0] if stages else state), *(Text("") for _ in range(3))]

    def _task(self, progress: Progress) -> RenderableType:
        event = progress.event
        step, total = event.get("step", 0), event.get("total", 0)
        left = progress.left()
        words = [str(event.get("stage", "starting"))]
        if total:
            words.append(f"{step}/{total}")
        words += [
            f"{name} {value:.3g}"
            for name, value in event.items()
            if isinstance(value, float) and name != "time"
        ]
        if left is not None:
            words.append(f"{seconds(left)} left")
        row = Table.grid(padding=(0, 1))
        row.add_row(
            Text(progress.title[:34].ljust(34)),
            ProgressBar(total=max(total, 1), completed=step, width=20),
            Text("  ".join(words), overflow="ellipsis", no_wrap=True),
        )
        return row

    def _summary(self) -> str:
        done, all_ = len(self.ended), len(self.tasks)
        elapsed = time.monotonic() - self.started
        text = f"{done} of {all_} steps, {seconds(elapsed)}"
        left = self._seconds_left()
        return text if left is None else f"{text}, about {seconds(left)} left"

    def _seconds_left(self) -> float | None:
        """Remaining steps at the mean pace of their kind, over the workers."""
        pace: dict[tuple[str, str], list[float]] = {}
        for task in self.tasks:
            if task.id in self.ended:
                pace.setdefault(_kind(task), []).append(self.ended[task.id])
        total = 0.0
        for task in self.tasks:
            if task.id in self.ended:
                continue
            known = pace.get(_kind(task))
            if known is None:
                return None
            total += sum(known) / len(known)
        return total / self.jobs


def _kind(task: Task) -> tuple[str, str]:
    """Tasks that take about the same time."""
    return task.id.partition(":")[0], task.title.split()[0]
