"""One round of a run: fitted and scored in workers."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.common.checksums import sealed_content, write_sealed
from zsar_bench.common.events import Event, EventLog
from zsar_bench.common.files import locked, write_json
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.plans.selection import LAST, SEEN_VAL, STATES, evaluations, median_point, peeks
from zsar_bench.runs.fit import Training, fit, full_training
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
        source = plan.encoders[number]
        log = EventLog(source.round.name, on_event)
        training, point, grid = chosen(plan, number, log)
        evaluation = _evaluation_set(plan, number, training)
        state = training.state(point, grid)
        started = time.monotonic()
        if peeks(plan.rule):
            curve = score_states(evaluation, training, grid, log.record)
            write_sealed(folder / "curve.sealed", _stacked(curve), _owner(plan, number))
            scored: dict[str, Any] = {}
        else:
            with Scorer(evaluation, [state], log.record) as scorer:
                scores = scorer.all()
            write_sealed(folder / "scores.sealed", _stacked([scores]), _owner(plan, number))
            scored = {"score_confinement": scorer.seen} | _rescored(
                plan, evaluation, state, scores, log.record
            )
        fitted, trials = training.about, read_trials(plan, number)
        seconds = {t["name"]: t["seconds"] for t in trials} | {training.name: fitted["seconds"]}
        fit_seconds = round(sum(seconds.values()), 3)
        write_json(
            folder / "round.json",
            {
                "fit": fit_seconds,
                "score": round(time.monotonic() - started, 3),
                "fraction": point / grid,
                "bundle": fitted["bundle"],
                "state": fitted["state"],
                "scored": evaluation.digest(),
                "fit_confinement": {
                    "confinement": fitted["confinement"],
                    "denied": fitted["denied"],
                },
                "events": log.events,
                **scored,
            },
        )


def _evaluation_set(plan: RunPlan, number: int, training: Training) -> EvaluationSet:
    """A round's unseen clips and classes, for states of this training."""
    source = plan.encoders[number]
    round_, folder = source.round, plan.round_folder(number)
    clips, classes = round_.test_unseen, round_.unseen
    return EvaluationSet(plan, source, clips, round_, classes, round_.name, folder, training.owner)


def chosen(plan: RunPlan, number: int, log: EventLog) -> tuple[Training, int, int]:
    """The training of a round, fitted, with the point and grid that its rule has chosen."""
    folder = plan.round_folder(number)
    if plan.rule == SEEN_VAL:
        training, _, _ = make_trial(plan, plan.encoders[number], folder / "trial-0")
    else:
        training = full_training(plan, number)
        with nullcontext() if training.folder == folder else locked(training.folder):
            fit(training, lambda e: log.record({"stage": "fit", **e}))
    return training, *chosen_point(plan, number)


def chosen_point(plan: RunPlan, number: int) -> tuple[int, int]:
    """The point and grid that a round's rule chose by its trials; of an oracle, the last."""
    if plan.rule == LAST:
        return 1, 1
    if peeks(plan.rule):
        return evaluations(plan.rule), evaluations(plan.rule)
    return median_point([int(t["best"]) for t in read_trials(plan, number)]), STATES


def _rescored(
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


def _stacked(scores: list[NDArray[np.float32]]) -> bytes:
    """Scores of one or more states as one tensor (E, n, K)."""
    import numpy as np
    from safetensors.numpy import save

    return save({"scores": np.stack(scores)})


def read_scores(plan: RunPlan, number: int, curve: bool = False) -> NDArray[np.float32]:
    """A round's scores (E, n, K): of the chosen state, or of every state on a curve."""
    from safetensors.numpy import load

    path = plan.round_folder(number) / ("curve.sealed" if curve else "scores.sealed")
    blob = sealed_content(path, _owner(plan, number))
    scores: NDArray[np.float32] = load(blob)["scores"]
    return scores


def _owner(plan: RunPlan, number: int) -> str:
    """The owner of a round's sealed scores."""
    return f"{plan.run_id} {number}"


def prove(plan: RunPlan, number: int, on_event: Event) -> None:
    """Refit a round and score it again; adds the result to its ``round.json``."""
    folder = plan.round_folder(number)
    with locked(folder):
        if plan.done or "proof" in plan.read_round(number):
            return
        log = EventLog(plan.encoders[number].round.name, on_event)
        training, point, grid = chosen(plan, number, log)
        evaluation = _evaluation_set(plan, number, training)
        scores = read_scores(plan, number, peeks(plan.rule))[-1]
        state = training.state(point, grid)
        proof = prove_round(training, evaluation, state, scores, log.record)
        write_json(folder / "round.json", plan.read_round(number) | {"proof": proof})
