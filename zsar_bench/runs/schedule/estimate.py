"""The expected time of work: as measured here before, or as plugins declare it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from zsar_bench.common.files import home
from zsar_bench.plans.controls import SHUFFLED_UNSEEN
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.runs.schedule.tasks import Task

TEXT_SECONDS = 15.0  #: importing a text library and reading its weights


class History:
    """Seconds of earlier encoders and rounds, by name and profile."""

    def __init__(self, results: Path) -> None:
        self._encoders: dict[tuple[str, str], list[float]] = {}
        self._rounds: dict[tuple[str, str], list[float]] = {}
        for path in sorted((home() / "encoders").glob("[!.]*/encoder.json"))[-200:]:
            self._take(self._add_encoder, path)
        for path in sorted((results / "runs").glob("*/*/[!.]*/run.json"))[-200:]:
            self._take(self._add_rounds, path)

    @staticmethod
    def _take(add: Callable[[dict[str, Any]], None], path: Path) -> None:
        """Add the seconds in a file; damaged files are ignored."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            add(json.loads(path.read_bytes()))

    def _add_encoder(self, content: dict[str, Any]) -> None:
        key, seconds = (str(content["encoder"]), str(content["code"])), float(content["seconds"])
        self._encoders.setdefault(key, []).append(seconds)

    def _add_rounds(self, record: dict[str, Any]) -> None:
        if record["texts"].get("control") == SHUFFLED_UNSEEN:
            return  # shifts of one fit report no time for it
        method, seconds = record["method"], record["seconds"]
        fits = len((record.get("gzsl") or {}).get("rotations", ()))
        rounds = max(1, len(record["encoder"]["rounds"]) + fits)
        spent = float(seconds["fit"] + seconds["score"]) / rounds
        self._rounds.setdefault((method["name"], method["profile"]), []).append(spent)

    def seconds(self, task: Task, plan: RunPlan) -> tuple[float, bool]:
        """Expected seconds of a task of this run, and whether they were measured here."""
        if task.id.startswith("encoder:"):
            name, code, declared = plan.encoders[0].cost
            known = self._encoders.get((name, code))
        elif task.id.startswith(("round:", "trial:", "proof:", "rotation:", "gzsl:")):
            name, profile = plan.method.name, plan.params.profile
            known = self._rounds.get((name, profile))
            declared = plan.method.spec["seconds"].get(profile.partition(" ")[0], 60.0)
        else:
            return (TEXT_SECONDS, False) if task.id.startswith("texts:") else (0.1, True)
        if known:
            return median(known), True
        return float(declared), False


def estimate(tasks: list[Task], plans: list[RunPlan], jobs: int) -> tuple[float, bool]:
    """Wall seconds of these tasks on ``jobs`` workers, and whether all was measured here.

    The sum over the workers, but at least the longest chain of one run.
    """
    by_run = {plan.run_id: plan for plan in plans}
    if not tasks:
        return 0.0, True
    history = History(plans[0].results)
    expected = {t.id: history.seconds(t, by_run[t.runs[0]]) for t in tasks}
    chain: dict[str, float] = {}
    for task in tasks:  # in an order that respects needs
        chain[task.id] = expected[task.id][0] + max(
            (chain.get(n, 0.0) for n in task.needs), default=0
        )
    total = sum(seconds for seconds, _ in expected.values()) / jobs
    return max(total, *chain.values()), all(measured for _, measured in expected.values())
