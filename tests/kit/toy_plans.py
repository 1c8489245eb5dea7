"""Plans of runs of the toy package, made in the test's own process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kit.command import TOY_ENCODERS
from kit.paths import PLUGINS
from zsar_bench.api import running
from zsar_bench.catalogue import catalogue
from zsar_bench.catalogue.settings import Assignment
from zsar_bench.plans.request import Request
from zsar_bench.plans.run_plan import RunPlan

WITNESS = PLUGINS / "witness.py"


def plans(
    protocol: Path, results: Path, *methods: str, sets: tuple[str, ...] = (), **more: Any
) -> list[RunPlan]:
    request = Request(
        methods=methods,
        protocol=str(protocol),
        results=results,
        skeleton_encoder=TOY_ENCODERS[1],
        text_encoder=TOY_ENCODERS[3],
        assignments=tuple(Assignment.parse(s) for s in sets),
        **more,
    )
    return running.plan(request, catalogue=catalogue.load([WITNESS])).runs


def plan_without_workers(patch: pytest.MonkeyPatch) -> None:
    """Plans ask two workers a second's questions; the commands below ask them, too, and must
    come to the same runs."""
    patch.setattr("zsar_bench.catalogue.settings.check_together", lambda pairs, machine: None)
    patch.setattr("zsar_bench.api.requests.check_together", lambda pairs, machine: None)
    patch.setattr("zsar_bench.api.requests.text_fingerprint", lambda *where: "toy-hash-1")
