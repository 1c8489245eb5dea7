"""The certificate of a record: confinement of its workers, their inputs, refused accesses.

The parent has recorded all of it: the confinement that each worker reports before any plugin code
runs in it, digests of what was sent, and refused accesses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from zsar_bench.plans.selection import LAST, STATES
from zsar_bench.records.parts import (
    Certificate,
    ConfinementPart,
    Evaluation,
    Proof,
    Rotation,
    StateChoice,
    weakest_level,
)
from zsar_bench.runs.gzsl import read_gzsl
from zsar_bench.runs.holdouts import read_trials

if TYPE_CHECKING:
    from zsar_bench.plans.run_plan import RunPlan

Json = dict[str, Any]

WORKERS = {
    "fit_confinement": "fit",
    "score_confinement": "score",
    "unseen_confinement": "score",
    "rescore_confinement": "score",
}


def certificate(plan: RunPlan, proof: Proof | None) -> Certificate:
    """The certificate of a run whose rounds are all scored."""
    rounds = {e.round.name: plan.read_round(n) for n, e in enumerate(plan.encoders)}
    noted = [*rounds.values(), *(g for n in range(len(rounds)) for g in read_gzsl(plan, n))]
    workers = [(WORKERS[k], notes[k]) for notes in noted for k in WORKERS if k in notes]
    workers += [("fit", t) for n in range(len(plan.encoders)) for t in read_trials(plan, n)]
    made = {e.round.name: e.certify() for e in plan.encoders}
    denied: Counter[str] = Counter()
    for stage, notes in [*workers, *(("encoder", m) for m in made.values())]:
        denied.update({f"{stage}: {what}": times for what, times in notes["denied"].items()})
    moved = [m["moved"] for m in made.values()]
    return Certificate(
        confinement=weakest([notes["confinement"] for _, notes in workers]),
        encoder_level=weakest_level(m["level"] for m in made.values()),
        bundles={name: note["bundle"] for name, note in rounds.items()},
        fitted={name: note["state"] for name, note in rounds.items()},
        scored={name: note["scored"] for name, note in rounds.items()},
        encoder_classes={name: m["classes"] for name, m in made.items()},
        encoder_clips={name: m["clips"] for name, m in made.items()},
        encoder_moved=None if None in moved else max(moved),
        denied=dict(sorted(denied.items())),
        leak=plan.leak,
        proof=proof,
    )


def weakest(confinement: Sequence[Json]) -> ConfinementPart:
    """The confinement that all of these workers had."""
    return ConfinementPart(
        level="landlock" if all(w["level"] == "landlock" for w in confinement) else "process",
        abi=min(w["abi"] for w in confinement),
        **{
            name: all(w[name] for w in confinement)
            for name in ("files", "tcp", "signals", "system_calls", "capabilities")
        },
    )


def state_choice(plan: RunPlan, curve: Sequence[tuple[float, float, float]]) -> StateChoice | None:
    """How the scored state was chosen; None where nothing was.

    Args:
        plan: a run whose rounds are all scored.
        curve: (fraction, top-1, mean class accuracy) of every state evaluated on test.
    """
    if plan.rule == LAST:
        return None
    trials = [t for n in range(len(plan.encoders)) for t in read_trials(plan, n)]
    return StateChoice(
        fractions={
            e.round.name: plan.read_round(n)["fraction"] for n, e in enumerate(plan.encoders)
        },
        evaluated=len(curve) + STATES * len(trials),
        validation=[
            Rotation(
                round=t["round"],
                held_out=t["held_out"],
                clips=t["clips"],
                encoder=t["encoder"],
                accuracies=list(zip(_fractions(t["accuracies"]), t["accuracies"], strict=True)),
                best=t["best"] / STATES,
            )
            for t in trials
        ],
        curve=[
            Evaluation(fraction=f, top1=top1, mean_class=mean_class)
            for f, top1, mean_class in curve
        ],
    )


def _fractions(points: Sequence[float]) -> Iterable[float]:
    return ((n + 1) / len(points) for n in range(len(points)))
