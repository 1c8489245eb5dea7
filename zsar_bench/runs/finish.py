"""The end of a run: the parent joins the scores of all rounds with labels.

<run>.part/round-N/round.json, scores.sealed     a finished round; its fit is a stage
<run>.part/round-N/trial-R/trial.json            a rotation, or a validation, of a round
<run>.part/round-N/curve.sealed                  scores of every state, for selection on test
<run>.part/out/                                  becomes the run's folder
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zsar_bench.common.checksums import write_sealed
from zsar_bench.common.code_digest import unchanged
from zsar_bench.common.events import Event, EventLog
from zsar_bench.common.files import (
    discard,
    locked,
    make_folder,
    rename_folder,
    write_bytes,
    write_json,
)
from zsar_bench.common.hashing import digest
from zsar_bench.data.protocols.splits import candidate_mask, candidates_in
from zsar_bench.errors import RunFailed
from zsar_bench.features.encoding import MOVED
from zsar_bench.metrics.accuracy import tolerance
from zsar_bench.metrics.measures import measure
from zsar_bench.plans.holdouts import rotation_sources, trial_sources
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.plans.selection import PSEUDO_UNSEEN, best_point, evaluations, peeks
from zsar_bench.records.environment import environment
from zsar_bench.records.parts import (
    Choice,
    GzslPart,
    MethodPart,
    Metrics,
    ProtocolPart,
    Rescoring,
    Seconds,
    TextPart,
)
from zsar_bench.records.schema import Record
from zsar_bench.runs.certify import certificate, state_choice
from zsar_bench.runs.fit import fitted, full_training
from zsar_bench.runs.gzsl import assemble_gzsl, read_gzsl, rotation_training
from zsar_bench.runs.holdouts import make_trial, read_trials
from zsar_bench.runs.proof import judge as judge_proof
from zsar_bench.runs.round import (
    read_scores,
    rescored,
    round_set,
    score_owner,
    scored_training,
    stacked,
)
from zsar_bench.runs.stages.store import Leases, Store
from zsar_bench.sandbox.client import Worker

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zsar_bench.data.protocols.protocol import Protocol
    from zsar_bench.records.gzsl_matrix import Matrix


def finish_run(plan: RunPlan, leases: Leases, on_event: Event) -> Record:
    """Join the rounds with labels, compute the metrics and rename the run's folder; delete the
    stages that no other run of the command needs."""
    from zsar_bench.records.files import read_record, seal_run, write_predictions
    from zsar_bench.records.gzsl_matrix import FILE, write_matrix
    from zsar_bench.records.schema import record_bytes

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
            if plan.folder.is_dir():  # an earlier record, without the requested proof
                plan.folder.rename(make_folder(plan.part / "before") / plan.run_id)
            rename_folder(out, plan.folder)
        Store(plan.results).drop(leases.end(plan.run_id))
        shutil.rmtree(plan.part, ignore_errors=True)  # last: it tells that something is left
    return read_record(plan.folder)


def leases_of(plans: Iterable[RunPlan]) -> Leases:
    """What these unfinished runs of a command need."""
    by_id = {plan.run_id: plan for plan in plans}
    return Leases(by_id, lambda run: stages_of(by_id[run]))


def stages_of(plan: RunPlan) -> list[str]:
    """Keys of all fits of a run."""
    trainings = []
    for number in range(len(plan.encoders)):
        trainings.append(scored_training(plan, number))
        if plan.rule == PSEUDO_UNSEEN:
            trainings += [make_trial(plan, s).training for s in trial_sources(plan, number)]
        trainings += [rotation_training(plan, s) for _, s in rotation_sources(plan, number)]
    return [training.stage.key for training in trainings]


def sweep(plan: RunPlan, leases: Leases) -> None:
    """Delete the working files of a finished run that was killed before it deleted them."""
    if plan.done and plan.part.is_dir():
        with locked(plan.part):
            Store(plan.results).drop(leases.unused(stages_of(plan)))
            shutil.rmtree(plan.part, ignore_errors=True)


def forget(plan: RunPlan) -> None:
    """Delete a run, if it is complete, and all work on it, so that it is made again."""
    if plan.folder.is_dir():
        discard(plan.folder)  # never incomplete under this name
    shutil.rmtree(plan.part, ignore_errors=True)
    Store(plan.results).drop(stages_of(plan))


def _choose_on_test(plan: RunPlan, on_event: Event) -> list[tuple[float, float, float]]:
    """Choose the best state on test, one point of the schedule for all rounds, and store its scores
    as those of the rounds.

    Returns:
        (fraction, top-1, mean class accuracy) of every point, in order.
    """
    from zsar_bench.metrics import accuracy

    grid = evaluations(plan.rule)
    folders = [plan.round_folder(n) for n in range(len(plan.encoders))]
    by_round = [read_scores(plan, n, curve=True) for n in range(len(folders))]
    curve = []
    for point in range(1, grid + 1):
        joined = join(plan, [scores[point - 1] for scores in by_round])
        credit = accuracy.judge(joined.scores, joined.labels).credit
        mean_class = accuracy.mean_class(credit, joined.labels, len(joined.candidates))
        curve.append((point / grid, accuracy.top1(credit), mean_class))
    best = best_point([top1 for _, top1, _ in curve])
    for number, folder in enumerate(folders):
        notes = plan.read_round(number)
        if "rescored" in notes:
            continue  # done by an earlier, killed command
        scores = by_round[number][best - 1]
        write_sealed(folder / "scores.sealed", stacked([scores]), score_owner(plan, number))
        log = EventLog(plan.encoders[number].round.name, on_event)
        training = full_training(plan, number)
        with fitted(training, log.record):
            evaluation, state = round_set(plan, number, training), training.state(best, grid)
            notes |= rescored(plan, evaluation, state, scores, log.record)
        notes |= {"fraction": best / grid, "events": [*notes["events"], *log.events]}
        write_json(folder / "round.json", notes)
    return curve


def _events(plan: RunPlan) -> Iterator[dict[str, Any]]:
    """All recorded events, those of a round's trials first."""
    for number in range(len(plan.encoders)):
        finished = [*read_trials(plan, number), plan.read_round(number)]
        for notes in (*finished, *read_gzsl(plan, number)):
            yield from notes["events"]


def _json_lines(rows: Any) -> bytes:
    import json

    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@dataclass(frozen=True)
class Joined:
    """The scored clips of all rounds with their labels.

    Attributes:
        ids, subjects: of N clips.
        labels: (N,) column of the true class.
        candidates: K official class ids.
        scores: (N, K); NaN where a class was no candidate of a clip.
    """

    ids: list[str]
    subjects: list[str]
    labels: NDArray[np.int64]
    candidates: list[str]
    scores: NDArray[np.float32]


def join(plan: RunPlan, by_round: list[NDArray[np.float32]]) -> Joined:
    """Join the scores of every round, each (n, K) over its own classes, with the labels."""
    clips = plan.encoders[0].dataset.clips
    index = [i for encoder in plan.encoders for i in encoder.round.test_unseen]
    candidates = candidates_in(plan.protocol, [encoder.round for encoder in plan.encoders])
    column = {c: n for n, c in enumerate(candidates)}
    scores = np.full((len(index), len(candidates)), np.nan, dtype=np.float32)
    start = 0
    for encoder, part in zip(plan.encoders, by_round, strict=True):
        round_ = encoder.round
        masked = np.where(candidate_mask(plan.protocol, clips, round_), part, np.float32(np.nan))
        scores[start : start + len(masked), [column[c] for c in round_.unseen]] = masked
        start += len(part)
    return Joined(
        ids=[clips["id"][i] for i in index],
        subjects=[clips["subject"][i] for i in index],
        labels=np.array([column[clips["class"][i]] for i in index], dtype=np.int64),
        candidates=candidates,
        scores=scores,
    )


def assemble(
    plan: RunPlan, curve: Sequence[tuple[float, float, float]]
) -> tuple[Record, tuple[Any, ...], Matrix | None]:
    """The record of a run whose rounds are all scored, the arguments of ``write_predictions``
    after the path, and the GZSL matrix, if any.

    Args:
        plan: the run.
        curve: (fraction, top-1, mean class accuracy) of every state evaluated on test.
    """
    joined = join(plan, [read_scores(plan, n)[0] for n in range(len(plan.encoders))])
    predictions = (joined.ids, joined.labels, joined.candidates, joined.scores)
    gzsl, matrix = assemble_gzsl(plan) if plan.gzsl else (None, None)
    return _record(plan, joined, curve, gzsl), predictions, matrix


def protocol_part(
    protocol: Protocol, data: str, candidates: list[str], ids: Sequence[str]
) -> ProtocolPart:
    """What was tested: a protocol, on data of this digest, on clips of these ids."""
    return ProtocolPart(
        id=protocol.id,
        dataset=protocol.dataset,
        digest=protocol.digest,
        data=data,
        samples=digest(sorted(ids)),
        rule=protocol.rule,
        seen=list(protocol.seen),
        unseen=candidates,
        folds=[list(fold) for fold in protocol.folds],
        expected_clips=protocol.test_clips,
        stand_in_for=protocol.stand_in_for,
        family_of=protocol.family_of,
    )


def _record(
    plan: RunPlan,
    joined: Joined,
    curve: Sequence[tuple[float, float, float]],
    gzsl: GzslPart | None,
) -> Record:
    from datetime import UTC, datetime

    candidates, labels, scores = joined.candidates, joined.labels, joined.scores
    ids, subjects = joined.ids, joined.subjects
    rounds = [plan.read_round(n) for n in range(len(plan.encoders))]
    change = max(note["largest_change"] for note in rounds)
    proof = judge_proof([note["proof"] for note in rounds], scores) if plan.prove else None
    certified = certificate(plan, proof)
    allowed = tolerance(scores, plan.precision)
    declared = plan.method.spec["setting"]
    # Scores that depend on other clips, by the method or by its features.
    moves = change > allowed or (certified.encoder_moved or 0.0) > MOVED
    moves = moves or (gzsl is not None and gzsl.rescoring.largest_change > gzsl.rescoring.tolerance)
    calibrated = [note for n in range(len(plan.encoders)) for note in read_gzsl(plan, n)]
    return Record(
        run_id=plan.run_id,
        identity=plan.identity,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        protocol=protocol_part(plan.protocol, plan.encoders[0].dataset.digest, candidates, ids),
        method=MethodPart(
            name=plan.method.name,
            plugin=plan.method.plugin,
            digest=plan.method.digest,
            profile=plan.params.profile,
            science=plan.params.science,
            runtime=plan.params.runtime,
            hp="tuned" if plan.tuning else _origin_of_values(plan),
            tuning=plan.tuning,
            declared_setting=declared,
            setting="transductive" if moves else declared,
            leak=plan.leak,
        ),
        encoder=plan.encoders[0].record_part([e.record_round() for e in plan.encoders]),
        texts=TextPart(
            encoder=plan.texts.entry.name,
            plugin=plan.texts.entry.plugin,
            digest=plan.texts.entry.digest,
            science=plan.texts.settings.science,
            fingerprint=plan.texts.fingerprint,
            source=plan.class_texts.name,
            version=plan.class_texts.version,
            fields=list(plan.fields),
            texts=plan.class_texts.digest(plan.fields),
            oracle=plan.class_texts.oracle,
            control=plan.control.kind if plan.control else "",
            draw=plan.control.draw if plan.control else 0,
        ),
        encoder_seed=plan.encoder_seed,
        method_seed=plan.method_seed,
        selection=plan.rule,
        states=state_choice(plan, curve),
        certificate=certified,
        metrics=Metrics(
            **vars(measure(candidates, labels, subjects, scores)),
            plugins=_plugin_metrics(plan, labels, subjects, scores),
        ),
        rescoring=Rescoring(
            clips=sum(note["rescored"] for note in rounds), largest_change=change, tolerance=allowed
        ),
        choices=[Choice(what=w, value=v, reason=why) for w, v, why in plan.choices],
        environment=environment(plan.machine, plan.precision),
        seconds=Seconds(
            fit=sum([*(o["fit"] for o in rounds), *(o.get("fit_seconds", 0) for o in calibrated)]),
            score=sum([*(o["score"] for o in rounds), *(o["seconds"] for o in calibrated)]),
        ),
        gzsl=gzsl,
    )


def _origin_of_values(plan: RunPlan) -> str:
    """Declared origin of the method's published values, if these are used."""
    return str(plan.method.spec["hp"]) if plan.params.published else "untuned"


def _plugin_metrics(
    plan: RunPlan, labels: NDArray[np.int64], subjects: list[str], scores: NDArray[np.float32]
) -> dict[str, float]:
    """Metrics of other plugins, each in a worker; last, because they get labels."""
    from safetensors.numpy import save

    number = {s: n for n, s in enumerate(sorted(set(subjects)))}
    blob = save(
        {
            "scores": scores,
            "labels": labels,
            "subjects": np.array([number[s] for s in subjects], dtype=np.int64),
        }
    )
    values = {}
    for entry in plan.metric_entries:
        folder = make_folder(plan.part / f"metric-{entry.name}")
        with Worker(plan.machine.job("metric", entry, {}), folder) as worker:
            values[entry.name] = float(worker.ask(blob)["value"])
        if not np.isfinite(values[entry.name]):
            raise RunFailed(
                f"the metric {entry.name} gave {values[entry.name]}, which is not finite"
            )
    return values
