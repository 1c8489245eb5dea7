"""Twelve runs as they were on the day before the modules moved: ids, seeds and orders.

A failure here means that stored runs would not be found again, or would be made with other
seeds or orders. No move, rename or rewrite may change a value; only a new ``VERSION`` of
identities may. The seeds are those of real jobs, and the orders those in which workers get
candidates and clips.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kit.made_plans import DATASET, PROTOCOL, encoders, plan, settings
from zsar_bench.catalogue.catalogue import Entry
from zsar_bench.common.hashing import derive_seed
from zsar_bench.data.protocols.splits import Round, make_rounds
from zsar_bench.plans.controls import Control
from zsar_bench.plans.holdouts import pseudo_unseen_splits
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.plans.selection import rotated
from zsar_bench.records.parts import TuningPart
from zsar_bench.runs import fit
from zsar_bench.runs.fit import fit_job, full_training, shuffled
from zsar_bench.runs.score import EvaluationSet

FOUR = tuple(c.id for c in PROTOCOL.classes)
TUNING = TuningPart(
    budget=30,
    trials=30,
    trial=7,
    accuracy=0.5,
    base_accuracy=0.4,
    space={"rate": [0.1, 1.0]},
    seeds=[(0, 0)],
    recipe="r" * 64,
    search="s" * 64,
)
METHOD = Entry(
    "methods",
    "toy",
    "toy",
    "c" * 64,
    {
        "wants": [],
        "target": "toy:Toy",
        "params": "toy:Params",
        "needs_encoder": False,
        "setting": "inductive",
        "leaks": ["peek"],
    },
    {},
    {},
)

SEEDS = [
    4709700292602951530,
    3826717622052348105,
    9086949229253541291,
    352430159094976708,
    6170552896647480698,
    2093765207081061964,
]
ENCODER_SEEDS = [2699995468291709811, 7156223724987385941, 5802462829590078651]


@dataclass(frozen=True)
class Source:
    """Features that are nowhere: what seeds and orders need of them, and the real key."""

    key: str
    round: Round
    dataset: Any = None

    def fit_bundle(self, clips: list[int], wants: Any) -> list[dict[str, Any]]:
        return []


@dataclass(frozen=True)
class Samples:
    clips: dict[str, list[Any]]
    layout: Any = None

    def contents(self, index: list[int]) -> list[bytes]:
        return [f"content of clip {i}".encode() for i in index]


def on(protocol: Any, **changes: Any) -> RunPlan:
    """A run on a protocol whose features exist in name only."""
    sources: tuple[Any, ...] = tuple(
        Source(e.key, e.round, Samples(DATASET.clips)) for e in encoders(protocol=protocol)
    )
    return replace(plan(method=METHOD), protocol=protocol, encoders=sources, **changes)


FOLDS = replace(
    PROTOCOL, id="made/folds:2", seen=FOUR, unseen=FOUR, folds=(("a1", "a3"), ("a2", "a4"))
)
PAIR = replace(PROTOCOL, seen=("a1", "a2"), unseen=("a3", "a4"))

RUNS: dict[str, Callable[[], RunPlan]] = {
    "plain": lambda: on(PROTOCOL),
    "two unseen classes, other seeds": lambda: on(PAIR, encoder_seed=2, method_seed=5),
    "seen-val": lambda: on(PAIR, rule="seen-val"),
    "pseudo-unseen": lambda: on(PAIR, rule="pseudo-unseen"),
    "oracle@50": lambda: on(PAIR, rule="oracle@50"),
    "GZSL by a constant": lambda: on(PAIR, gzsl="constant"),
    "GZSL by a gate": lambda: on(PAIR, gzsl="gate"),
    "texts shifted": lambda: on(PAIR, control=Control("shuffled-unseen", 1)),
    "random texts": lambda: on(PAIR, control=Control("random", 3)),
    "tuned": lambda: on(PAIR, tuning=TUNING),
    "a leak": lambda: on(PAIR, params=settings(rate=0.1, peek=True)),
    "folds": lambda: on(FOLDS),
}

#: Run -> run id, id of its fits, then of its first round: seed of the fit, states that are kept,
#: order of the candidates, order of the clips to be scored, order of those of another purpose.
PINNED: dict[str, tuple[Any, ...]] = {
    "plain": (
        "20c5026b48a96d03",
        "20c5026b48a96d03",
        4915472731456113736,
        (),
        [2, 3, 1, 0],
        [3, 2, 0, 1, 6, 4, 7, 5],
        [7, 4, 3, 5, 1, 2, 0, 6],
    ),
    "two unseen classes, other seeds": (
        "e635317b0ff1834a",
        "e635317b0ff1834a",
        8622195465005841396,
        (),
        [3, 0, 1, 2],
        [5, 3, 6, 0, 4, 1, 2, 7],
        [3, 1, 5, 6, 2, 0, 4, 7],
    ),
    "seen-val": (
        "abe57d8471f91c99",
        "d68f8b10d7633963",
        4915472731456113736,
        (),
        [2, 1, 0, 3],
        [6, 5, 4, 2, 1, 0, 7, 3],
        [4, 7, 3, 2, 1, 6, 0, 5],
    ),
    "pseudo-unseen": (
        "ec9304b666b69f19",
        "d68f8b10d7633963",
        4915472731456113736,
        (20,),
        [2, 1, 0, 3],
        [6, 5, 4, 2, 1, 0, 7, 3],
        [4, 7, 3, 2, 1, 6, 0, 5],
    ),
    "oracle@50": (
        "ee6cf2f0ab55f65a",
        "d68f8b10d7633963",
        4915472731456113736,
        (50,),
        [2, 1, 0, 3],
        [6, 5, 4, 2, 1, 0, 7, 3],
        [4, 7, 3, 2, 1, 6, 0, 5],
    ),
    "GZSL by a constant": (
        "1b126733801be5a9",
        "d68f8b10d7633963",
        4915472731456113736,
        (),
        [2, 1, 0, 3],
        [6, 5, 4, 2, 1, 0, 7, 3],
        [4, 7, 3, 2, 1, 6, 0, 5],
    ),
    "GZSL by a gate": (
        "616d057dd89fd9ff",
        "d68f8b10d7633963",
        4915472731456113736,
        (),
        [2, 1, 0, 3],
        [6, 5, 4, 2, 1, 0, 7, 3],
        [4, 7, 3, 2, 1, 6, 0, 5],
    ),
    "texts shifted": (
        "92caf460a9db2e33",
        "d68f8b10d7633963",
        4915472731456113736,
        (),
        [2, 1, 0, 3],
        [6, 5, 4, 2, 1, 0, 7, 3],
        [4, 7, 3, 2, 1, 6, 0, 5],
    ),
    "random texts": (
        "97db262f0f2be00c",
        "d68f8b10d7633963",
        4915472731456113736,
        (),
        [2, 1, 0, 3],
        [6, 5, 4, 2, 1, 0, 7, 3],
        [4, 7, 3, 2, 1, 6, 0, 5],
    ),
    "tuned": (
        "80d4d495cddd4fd0",
        "d68f8b10d7633963",
        4915472731456113736,
        (),
        [2, 1, 0, 3],
        [6, 5, 4, 2, 1, 0, 7, 3],
        [4, 7, 3, 2, 1, 6, 0, 5],
    ),
    "a leak": (
        "22714717654ed46d",
        "22714717654ed46d",
        4915472731456113736,
        (),
        [1, 2, 3, 0],
        [5, 0, 1, 4, 2, 6, 3, 7],
        [6, 4, 7, 0, 2, 3, 1, 5],
    ),
    "folds": (
        "ee798081f524f8bd",
        "ee798081f524f8bd",
        1231153602606909486,
        (),
        [0, 2, 3, 1],
        [0, 1, 5, 2, 6, 4, 7, 3],
        [4, 5, 1, 2, 6, 0, 3, 7],
    ),
}


def facts(run: RunPlan, folder: Path) -> tuple[Any, ...]:
    run = replace(run, results=folder)
    training = full_training(run, 0)
    job = fit_job(training, folder)
    source = run.encoders[0]
    one = source.round
    evaluation = EvaluationSet(
        run, source, list(range(8)), one, one.unseen, one.name, folder, training.owner
    )
    return (
        run.run_id,
        run.fit_id,
        job["seed"],
        job["grids"],
        shuffled(run, FOUR, one.name)[1],
        evaluation.order("clips").tolist(),
        evaluation.order("gzsl").tolist(),
    )


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_what_it_was(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "write_texts", lambda *a: None)
    assert facts(RUNS[name](), tmp_path) == PINNED[name]


def test_seeds_of_everything_that_is_fitted_beside_the_run() -> None:
    one = make_rounds(PROTOCOL, DATASET)[0]
    turned = rotated(one, 1, ["a1"], DATASET.clips["class"])
    names = [one.name, f"{one.name} validation", turned.name]
    assert names == ["half-1", "half-1 validation", "half-1 rotation-2"]
    seeds = [derive_seed(kind, 3, 1, name) for kind in ("method", "score") for name in names]
    assert seeds == SEEDS
    assert [derive_seed("encoder", 3, name) for name in names] == ENCODER_SEEDS
    with pytest.raises(Exception, match="calibrated on training clips"):
        pseudo_unseen_splits(PROTOCOL, one, DATASET.clips)
