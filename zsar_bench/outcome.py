"""A run's rounds joined with their labels: predictions, metrics and the record.

Only the parent does this, and only after the last worker of the run has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zsar_bench import metrics
from zsar_bench import record as r
from zsar_bench.certify import certificate, state_choice
from zsar_bench.encoding import MOVED
from zsar_bench.environment import environment
from zsar_bench.errors import RunFailed
from zsar_bench.gzsl_outcome import assemble_gzsl
from zsar_bench.gzsl_runs import read_gzsl
from zsar_bench.identity import digest
from zsar_bench.paths import make_folder
from zsar_bench.prove import judge as judge_proof
from zsar_bench.sandbox import Worker
from zsar_bench.tested import candidate_mask, candidates_in
from zsar_bench.tolerance import tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zsar_bench.gzsl_matrix import Matrix
    from zsar_bench.protocol import Protocol
    from zsar_bench.run_plan import RunPlan


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


def join(plan: RunPlan, found: list[NDArray[np.float32]]) -> Joined:
    """Join the scores of every round, each (n, K) over its own classes, with the labels."""
    clips = plan.encoders[0].dataset.clips
    index = [i for encoder in plan.encoders for i in encoder.round.test_unseen]
    candidates = candidates_in(plan.protocol, [encoder.round for encoder in plan.encoders])
    column = {c: n for n, c in enumerate(candidates)}
    scores = np.full((len(index), len(candidates)), np.nan, dtype=np.float32)
    start = 0
    for encoder, own_scores in zip(plan.encoders, found, strict=True):
        one = encoder.round
        own = np.where(candidate_mask(plan.protocol, clips, one), own_scores, np.float32(np.nan))
        scores[start : start + len(own), [column[c] for c in one.unseen]] = own
        start += len(own_scores)
    return Joined(
        ids=[clips["id"][i] for i in index],
        subjects=[clips["subject"][i] for i in index],
        labels=np.array([column[clips["class"][i]] for i in index], dtype=np.int64),
        candidates=candidates,
        scores=scores,
    )


def assemble(
    plan: RunPlan, curve: Sequence[tuple[float, float, float]]
) -> tuple[r.Record, tuple[Any, ...], Matrix | None]:
    """The record of a run whose rounds are all scored, the arguments of
    ``record.write_predictions`` after the path, and the GZSL matrix, if there is one.

    Args:
        plan: the run.
        curve: (fraction, micro, macro) of every state that was evaluated on test.
    """
    from zsar_bench.runner import read_scores

    found = join(plan, [read_scores(plan, n)[0] for n in range(len(plan.encoders))])
    predictions = (found.ids, found.labels, found.candidates, found.scores)
    gzsl, matrix = assemble_gzsl(plan) if plan.gzsl else (None, None)
    return _record(plan, found, curve, gzsl), predictions, matrix


def protocol_part(
    protocol: Protocol, data: str, candidates: list[str], ids: Sequence[str]
) -> r.ProtocolPart:
    """What was tested: a protocol, on data of this digest, on clips of these ids."""
    return r.ProtocolPart(
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
        dials=dict(protocol.dials),
    )


def measure(
    candidates: Sequence[str],
    labels: NDArray[np.int64],
    subjects: Sequence[str],
    scores: NDArray[np.float32],
) -> r.Metrics:
    """Every number of a record that follows from its predictions.

    Args:
        candidates: K official class ids.
        labels: (N,) index of the true class in ``candidates``.
        subjects: N performers.
        scores: (N, K); NaN where a class was no candidate of a clip.

    Raises:
        RunFailed: a score is infinite, or the true class is no candidate.
    """
    judged = metrics.judge(scores, labels)
    guess = metrics.guesses(scores)
    classes = [candidates[i] for i in labels]
    return r.Metrics(
        clips=len(labels),
        micro=metrics.micro(judged.credit),
        macro=metrics.macro(judged.credit, labels, len(candidates)),
        chance=metrics.macro(guess, labels, len(candidates)),
        chance_micro=metrics.micro(guess),
        guesses={} if np.ptp(guess) == 0 else _means(cells(guess, classes, subjects)),
        largest_class=metrics.largest_class(scores, labels),
        tied=judged.tied,
        cells=cells(judged.credit, classes, subjects),
    )


def cells(
    credit: NDArray[np.float64], classes: Sequence[str], subjects: Sequence[str]
) -> dict[str, dict[str, tuple[float, int]]]:
    """Credit and clips by class and performer: all that metrics and statistics need.

    Args:
        credit: (N,) credit of each clip.
        classes, subjects: N official class ids and performers.
    """
    table: dict[str, dict[str, tuple[float, int]]] = {}
    for value, class_id, subject in zip(credit.tolist(), classes, subjects, strict=True):
        total, count = table.setdefault(class_id, {}).get(subject, (0.0, 0))
        table[class_id][subject] = (total + value, count + 1)
    return table


def _means(table: dict[str, dict[str, tuple[float, int]]]) -> dict[str, dict[str, float]]:
    return {c: {s: total / n for s, (total, n) in row.items()} for c, row in table.items()}


def _record(
    plan: RunPlan,
    found: Joined,
    curve: Sequence[tuple[float, float, float]],
    gzsl: r.GzslPart | None,
) -> r.Record:
    from datetime import UTC, datetime

    candidates, labels, scores = found.candidates, found.labels, found.scores
    ids, subjects = found.ids, found.subjects
    rounds = [plan.read_round(n) for n in range(len(plan.encoders))]
    change = max(one["largest_change"] for one in rounds)
    proof = judge_proof([one["proof"] for one in rounds], scores) if plan.prove else None
    trust = certificate(plan, proof)
    allowed = tolerance(scores, plan.precision)
    declared = plan.method.spec["setting"]
    # Scores that depend on other clips, by the method or by its features.
    moves = change > allowed or (trust.encoder_moved or 0.0) > MOVED
    moves = moves or (gzsl is not None and gzsl.rescoring.largest_change > gzsl.rescoring.tolerance)
    rehearsed = [one for n in range(len(plan.encoders)) for one in read_gzsl(plan, n)]
    return r.Record(
        run_id=plan.run_id,
        identity=plan.identity,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        protocol=protocol_part(plan.protocol, plan.encoders[0].dataset.digest, candidates, ids),
        method=r.MethodPart(
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
        texts=r.TextPart(
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
        certificate=trust,
        metrics=measure(candidates, labels, subjects, scores).model_copy(
            update={"plugins": _plugin_metrics(plan, labels, subjects, scores)}
        ),
        rescoring=r.Rescoring(
            clips=sum(one["rescored"] for one in rounds), largest_change=change, tolerance=allowed
        ),
        choices=[r.Choice(what=w, value=v, reason=why) for w, v, why in plan.choices],
        environment=environment(plan.machine, plan.precision),
        seconds=r.Seconds(
            fit=sum([*(o["fit"] for o in rounds), *(o.get("fit_seconds", 0) for o in rehearsed)]),
            score=sum([*(o["score"] for o in rounds), *(o["seconds"] for o in rehearsed)]),
        ),
        gzsl=gzsl,
    )


def _origin_of_values(plan: RunPlan) -> str:
    """What the method declares of its published values, where these are in use."""
    return str(plan.method.spec["hp"]) if plan.params.published else "untuned"


def _plugin_metrics(
    plan: RunPlan, labels: NDArray[np.int64], subjects: list[str], scores: NDArray[np.float32]
) -> dict[str, float]:
    """Metrics of other plugins, each in a worker; they get labels, so they come last."""
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
