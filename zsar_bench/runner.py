"""One run: every round fitted and scored in workers, then joined with labels by the parent.

<run>.part/round-N/round.json, scores.sealed     a finished round
<run>.part/round-N/trial-R/trial.json            a rotation, or a validation, of a round
<run>.part/round-N/curve.sealed                  scores of every state, where a rule peeks
<run>.part/out/                                  what becomes the run's folder
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.codehash import unchanged
from zsar_bench.controls import SHUFFLED_UNSEEN, Control
from zsar_bench.diary import Diary
from zsar_bench.errors import RunFailed
from zsar_bench.fitting import Training, fit, full_training
from zsar_bench.paths import locked, make_folder, rename_folder, write_bytes, write_json
from zsar_bench.prove import prove_round
from zsar_bench.run_plan import RunPlan
from zsar_bench.scoring import RESCORED, Exam, Scorer, rescore, score_states
from zsar_bench.seals import sealed_content, write_sealed
from zsar_bench.selection import (
    LAST,
    SEEN_VAL,
    STATES,
    best_point,
    evaluations,
    median_point,
    peeks,
)
from zsar_bench.trials import make_trial, read_trials

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zsar_bench.record import Record

Event = Callable[[dict[str, Any]], None]


# --- Rounds ------------------------------------------------------------------------------------


def run_round(plan: RunPlan, number: int, on_event: Event) -> None:
    """Fit and score one round; leaves ``round.json`` and ``scores.sealed`` in its folder, or
    ``curve.sealed`` where the rule looks at the clips of all rounds together."""
    folder = plan.round_folder(number)
    with locked(folder):
        if plan.done or (folder / "round.json").is_file():
            return
        source = plan.encoders[number]
        diary = Diary(source.round.name, on_event)
        training, point, grid = chosen(plan, number, diary)
        exam = _exam(plan, number, training)
        state = training.state(point, grid)
        started = time.monotonic()
        if peeks(plan.rule):
            curve = score_states(exam, training, grid, diary.hear)
            write_sealed(folder / "curve.sealed", _stacked(curve), _owner(plan, number))
            about: dict[str, Any] = {}
        else:
            with Scorer(exam, [state], diary.hear) as scorer:
                scores = scorer.all()
            write_sealed(folder / "scores.sealed", _stacked([scores]), _owner(plan, number))
            about = {"score_walls": scorer.seen} | _rescored(plan, exam, state, scores, diary.hear)
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
                "scored": exam.digest(),
                "fit_walls": {"walls": fitted["walls"], "denied": fitted["denied"]},
                "events": diary.events,
                **about,
            },
        )


def _exam(plan: RunPlan, number: int, training: Training) -> Exam:
    """A round's unseen clips and classes, asked of states of this training."""
    source = plan.encoders[number]
    one, folder = source.round, plan.round_folder(number)
    asked, classes = one.test_unseen, one.unseen
    return Exam(plan, source, asked, one, classes, one.name, folder, training.owner)


def chosen(plan: RunPlan, number: int, diary: Diary) -> tuple[Training, int, int]:
    """The training of a round, fitted, and the point of which grid its rule has chosen."""
    folder = plan.round_folder(number)
    if plan.rule == SEEN_VAL:
        training, _, _ = make_trial(plan, plan.encoders[number], folder / "trial-0")
    else:
        training = full_training(plan, number)
        with nullcontext() if training.folder == folder else locked(training.folder):
            fit(training, lambda e: diary.hear({"stage": "fit", **e}))
    return training, *chosen_point(plan, number)


def chosen_point(plan: RunPlan, number: int) -> tuple[int, int]:
    """The point of which grid a round's rule has chosen, its trials being done.

    An oracle has chosen nothing yet: its point is the last.
    """
    if plan.rule == LAST:
        return 1, 1
    if peeks(plan.rule):
        return evaluations(plan.rule), evaluations(plan.rule)
    return median_point([int(t["best"]) for t in read_trials(plan, number)]), STATES


def _rescored(
    plan: RunPlan, exam: Exam, state: Path, scores: NDArray[np.float32], on_event: Event
) -> dict[str, Any]:
    """What a round's second scoring found out."""
    count = -(-RESCORED // len(plan.encoders))
    change, again, seen = rescore(exam, state, scores, count, on_event)
    return {"rescored": again, "largest_change": change, "rescore_walls": seen}


def _stacked(scores: list[NDArray[np.float32]]) -> bytes:
    """Scores of one or more states as one tensor (E, n, K)."""
    import numpy as np
    from safetensors.numpy import save

    return save({"scores": np.stack(scores)})


def read_scores(plan: RunPlan, number: int, curve: bool = False) -> NDArray[np.float32]:
    """A round's scores (E, n, K): of the state that counts, or of every state on a curve."""
    from safetensors.numpy import load

    path = plan.round_folder(number) / ("curve.sealed" if curve else "scores.sealed")
    blob = sealed_content(path, _owner(plan, number))
    scores: NDArray[np.float32] = load(blob)["scores"]
    return scores


def _owner(plan: RunPlan, number: int) -> str:
    """What a round's sealed scores belong to."""
    return f"{plan.run_id} {number}"


def prove(plan: RunPlan, number: int, on_event: Event) -> None:
    """Refit a round and score it again; what comes out is added to its ``round.json``."""
    folder = plan.round_folder(number)
    with locked(folder):
        if plan.done or "proof" in plan.read_round(number):
            return
        diary = Diary(plan.encoders[number].round.name, on_event)
        training, point, grid = chosen(plan, number, diary)
        exam = _exam(plan, number, training)
        scores = read_scores(plan, number, peeks(plan.rule))[-1]
        state = training.state(point, grid)
        found = prove_round(training, exam, state, scores, diary.hear)
        write_json(folder / "round.json", plan.read_round(number) | {"proof": found})


# --- The end of a run --------------------------------------------------------------------------


def finish_run(plan: RunPlan, on_event: Event) -> Record:
    """Join the rounds with labels, compute the metrics and give the run its final name."""
    from zsar_bench.gzsl_matrix import FILE, write_matrix
    from zsar_bench.outcome import assemble
    from zsar_bench.record import read_record, record_bytes, seal_run, write_predictions

    with locked(plan.part):
        if not plan.done:
            if not unchanged(plan.machine.code, plan.machine.code_state):
                raise RunFailed("a plugin's files have changed since this command began")
            curve = _choose_on_test(plan, on_event) if peeks(plan.rule) else []
            record, predictions, matrix = assemble(plan, curve)
            out = make_folder(plan.part / "out")
            write_predictions(out / "predictions.safetensors", *predictions)
            if matrix is not None:
                write_matrix(out / FILE, matrix)
            write_bytes(out / "events.jsonl", _json_lines(_events(plan)))
            write_bytes(out / "run.json", record_bytes(record))
            seal_run(out)
            if plan.folder.is_dir():  # it was there without the proof that is asked for now
                plan.folder.rename(make_folder(plan.part / "before") / plan.run_id)
            rename_folder(out, plan.folder)
        shutil.rmtree(plan.part, ignore_errors=True)
    if plan.fit_part != plan.part and all(p.done for p in _sharers(plan)):
        shutil.rmtree(plan.fit_part, ignore_errors=True)
    return read_record(plan.folder)


def sweep(plan: RunPlan) -> None:
    """Delete what a finished run was made of, where a kill came between its name and that."""
    if plan.done and plan.part.is_dir():
        with locked(plan.part):
            shutil.rmtree(plan.part, ignore_errors=True)


def _choose_on_test(plan: RunPlan, on_event: Event) -> list[tuple[float, float, float]]:
    """The best state on test, one point of the schedule for all rounds; written into the rounds
    as if it had been chosen by them.

    Returns:
        (fraction, micro, macro) of every point, the last state's last.
    """
    from zsar_bench import metrics
    from zsar_bench.outcome import join

    grid = evaluations(plan.rule)
    folders = [plan.round_folder(n) for n in range(len(plan.encoders))]
    found = [read_scores(plan, n, curve=True) for n in range(len(folders))]
    curve = []
    for point in range(1, grid + 1):
        joined = join(plan, [scores[point - 1] for scores in found])
        credit = metrics.judge(joined.scores, joined.labels).credit
        macro = metrics.macro(credit, joined.labels, len(joined.candidates))
        curve.append((point / grid, metrics.micro(credit), macro))
    best = best_point([micro for _, micro, _ in curve])
    for number, folder in enumerate(folders):
        about = plan.read_round(number)
        if "rescored" in about:
            continue  # killed here before
        scores = found[number][best - 1]
        write_sealed(folder / "scores.sealed", _stacked([scores]), _owner(plan, number))
        diary = Diary(plan.encoders[number].round.name, on_event)
        training = full_training(plan, number)
        exam = _exam(plan, number, training)
        about |= _rescored(plan, exam, training.state(best, grid), scores, diary.hear)
        about |= {"fraction": best / grid, "events": [*about["events"], *diary.events]}
        write_json(folder / "round.json", about)
    return curve


def _sharers(plan: RunPlan) -> list[RunPlan]:
    """All runs that use this one's fits."""
    controls: list[Control | None] = [plan.control]
    if plan.control is not None and plan.control.kind == SHUFFLED_UNSEEN:
        controls = [Control(SHUFFLED_UNSEEN, s) for s in range(len(plan.protocol.unseen))]
    rules = plan.rules or (plan.rule,)
    return [replace(plan, rule=rule, control=control) for rule in rules for control in controls]


def _events(plan: RunPlan) -> Iterator[dict[str, Any]]:
    """Everything that was heard, trials before the round that they are of."""
    from zsar_bench.gzsl_runs import read_gzsl

    for number in range(len(plan.encoders)):
        about = [*read_trials(plan, number), plan.read_round(number)]
        for one in (*about, *read_gzsl(plan, number)):
            yield from one["events"]


def _json_lines(rows: Any) -> bytes:
    import json

    return "".join(json.dumps(row) + "\n" for row in rows).encode()
