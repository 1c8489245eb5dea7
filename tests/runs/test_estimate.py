"""What room work will take: the features that are missing, each counted once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

import pytest

from kit.toy_plans import plan_without_workers, plans
from zsar_bench.features.encoders import EncoderPlan
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.runs.schedule.estimate import CLIP_BYTES, TOKEN_BYTES, WORKER_BYTES, room
from zsar_bench.runs.schedule.tasks import tasks


@pytest.fixture
def two(copy_home: Path, toy_process: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunPlan]:
    """Two methods on one encoder a round; the second wants tokens too; no features are kept yet."""
    shutil.rmtree(copy_home / "encoders", ignore_errors=True)  # other tests' runs in that store
    monkeypatch.setenv("ZSAR_BENCH_HOME", str(copy_home))
    plan_without_workers(monkeypatch)
    found = plans(Path("toy-4-2"), Path("results"), "toy-ridge", "witness", profile="paper")
    assert [plan.wants for plan in found] == [(), ("tokens",)]
    return found


def encoders(plan: RunPlan) -> list[EncoderPlan]:
    return cast("list[EncoderPlan]", list(plan.encoders))


def clips(encoder: EncoderPlan) -> int:
    r = encoder.round
    return len({*r.train, *r.test_unseen, *r.test_seen})


def keep(encoder: EncoderPlan, *parts: str) -> None:
    """As if these features were in the cache."""
    for part in parts:
        (encoder.folder / part).mkdir(parents=True)


def test_room_of_new_features(two: list[RunPlan]) -> None:
    memory, disk = room(tasks(two), two, jobs=3)
    joints = len(encoders(two[0])[0].dataset.layout["joints"])
    token_bytes = 3 * joints * TOKEN_BYTES
    assert disk == sum(clips(e) * (CLIP_BYTES + token_bytes) for e in encoders(two[1]))
    about = encoders(two[0])[0].dataset
    trained = [[about.clips["frames"][i] for i in e.round.train] for e in encoders(two[0])]
    largest = max(sum(t) + len(t) * max(t) for t in trained)  # as stored, and padded
    assert memory == 3 * (WORKER_BYTES + 12 * joints * about.bodies * largest)


def test_features_that_are_kept_take_no_room(two: list[RunPlan]) -> None:
    first, second = encoders(two[1])
    keep(first, "pooled", "tokens")
    _, disk = room(tasks(two), two, jobs=1)
    joints = len(first.dataset.layout["joints"])
    assert disk == clips(second) * (CLIP_BYTES + 3 * joints * TOKEN_BYTES)
    keep(second, "pooled", "tokens")
    assert room(tasks(two), two, jobs=2) == (2 * WORKER_BYTES, 0)
