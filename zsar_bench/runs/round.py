"""One round of a run: fitted and scored in workers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.common.checksums import sealed_content, write_sealed
from zsar_bench.common.events import Event, EventLog
from zsar_bench.common.files import locked, write_json
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.plans.selection import LAST, SEEN_VAL, STATES, evaluations, median_point, peeks
from zsar_bench.runs.fit import Training, fitted, full_training
from zsar_bench.runs.holdouts import make_trial, read_trials
from zsar_bench.runs.proof import prove_round
from zsar_bench.runs.score import RESCORED, EvaluationSet, Scorer, rescore, score_states

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def run_round(plan: RunPlan, number: int, on_event: Event) -> None:
    """Fit and score one round; writes ``round.json`` and ``scores.sealed`` into its folder, or
    ``curve.sealed`` where the rule selects on the test clips of all rounds."""
    folder = plan.round_folder(number)
    with locked(folder):
        if plan.done or (folder / "round.json").is_file():
            return
        log = EventLog(plan.encoders[number].round.name, on_event)
        with chosen(plan, number, log.record) as (training, point, grid):
            started = time.monotonic()
            evaluation = round_set(plan, number, training)
            scored = _scored(plan, number, evaluation, training.states(grid)[:point], log.record)
            about, trials = training.about, read_trials(plan, number)
        seconds = {t["name"]: t["seconds"] for t in trials} | {training.name: about["seconds"]}
        fit_seconds = round(sum(seconds.values()), 3)
        write_json(
            folder / "round.json",
            {
                "fit": fit_seconds,
                "score": round(time.monotonic() - started, 3),
                "fraction": point / grid,
                "bundle": about["bundle"],
                "state": about["state"],
                "scored": evaluation.digest(),
                "fit_confinement": {n: about[n] for n in ("confinement", "denied")},
                "events": log.events,
                **scored,
            },
        )


def _scored(
    plan: RunPlan, number: int, evaluation: EvaluationSet, states: list[Path], on_event: Event
) -> dict[str, Any]:
    """Score a round's clips by the last of these states, or by all where the rule selects on test;
    returns facts about it."""
    folder, owner = evaluation.folder, score_owner(plan, number)
    if peeks(plan.rule):
        curve = score_states(evaluation, states, on_event)
        write_sealed(folder / "curve.sealed", stacked(curve), owner)
        return {}
    with Scorer(evaluation, states[-1:], on_event) as scorer:
        scores = scorer.all()
    write_sealed(folder / "scores.sealed", stacked([scores]), owner)
    again = rescored(plan, evaluation, states[-1], scores, on_event)
    return {"score_confinement": scorer.seen} | again


def round_set(plan: RunPlan, number: int, training: Training) -> EvaluationSet:
    """A round's unseen clips and classes, for states of this training."""
    source = plan.encoders[number]
    round_, folder = source.round, plan.round_folder(number)
    clips, classes = round_.test_unseen, round_.unseen
    return EvaluationSet(plan, source, clips, round_, classes, round_.name, folder, training.owner)


@contextmanager
def chosen(plan: RunPlan, number: int, on_event: Event) -> Iterator[tuple[Training, int, int]]:
    """The training of a round, fitted, with the point and grid that its rule has chosen."""
    training = scored_training(plan, number)
    with fitted(training, on_event):
        yield training, *chosen_point(plan, number)


def scored_training(plan: RunPlan, number: int) -> Training:
    """The training whose states are scored: the fit on all clips, or the validation itself."""
    if plan.rule == SEEN_VAL:
        return make_trial(plan, plan.encoders[number]).training
    return full_training(plan, number)


def chosen_point(plan: RunPlan, number: int) -> tuple[int, int]:
    """The point and grid that a round's rule chose by its trials; of an oracle, the last."""
    if plan.rule == LAST:
        return 1, 1
    if peeks(plan.rule):
        return evaluations(plan.rule), evaluations(plan.rule)
    return median_point([int(t["best"]) for t in read_trials(plan, number)]), STATES


def rescored(
    plan: RunPlan,
    evaluation: EvaluationSet,
    state: Path,
    scores: NDArray[np.float32],
    on_event: Event,
) -> dict[str, Any]:
    """Facts about the second scoring of a round."""
    count = -(-RESCORED // len(plan.encoders))
    change, again, seen = rescore(evaluation, state, scores, count, on_event)
    return {"rescored": again, "largest_change": change, "rescore_confinement": seen}


def stacked(scores: list[NDArray[np.float32]]) -> bytes:
    """Scores of one or more states as one tensor (E, n, K)."""
    import numpy as np
    from safetensors.numpy import save

    return save({"scores": np.stack(scores)})


def read_scores(plan: RunPlan, number: int, curve: bool = False) -> NDArray[np.float32]:
    """A round's scores (E, n, K): of the chosen state, or of every state on a curve."""
    from safetensors.numpy import load

    path = plan.round_folder(number) / ("curve.sealed" if curve else "scores.sealed")
    blob = sealed_content(path, score_owner(plan, number))
    scores: NDArray[np.float32] = load(blob)["scores"]
    return scores


def score_owner(plan: RunPlan, number: int) -> str:
    """The owner of a round's sealed scores."""
    return f"{plan.run_id} {number}"


def prove(plan: RunPlan, number: int, on_event: Event) -> None:
    """Refit a round and score it again; adds the result to its ``round.json``."""
    folder = plan.round_folder(number)
    with locked(folder):
        if plan.done or "proof" in plan.read_round(number):
            return
        log = EventLog(plan.encoders[number].round.name, on_event)
        scores = read_scores(plan, number, peeks(plan.rule))[-1]
        with chosen(plan, number, log.record) as (training, point, grid):
            evaluation, state = round_set(plan, number, training), training.state(point, grid)
            proof = prove_round(training, evaluation, state, scores, log.record)
        write_json(folder / "round.json", plan.read_round(number) | {"proof": proof})
