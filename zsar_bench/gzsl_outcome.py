"""The GZSL part of a run whose rehearsals and exams are all there.

Only the parent does this: here scores meet labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zsar_bench import record_parts as r
from zsar_bench.gzsl import Measured, credit, measure, sides
from zsar_bench.gzsl_calibration import carried, rehearsed, size
from zsar_bench.gzsl_gate import Experts, Gate, fit_gate, gated, spread
from zsar_bench.gzsl_record import (
    GzslGate,
    GzslNumbers,
    GzslPart,
    GzslRotation,
    GzslRound,
    Matrix,
)
from zsar_bench.gzsl_rotations import rotation_sources
from zsar_bench.gzsl_runs import Said, read_exam, read_rotations, read_said
from zsar_bench.identity import digest
from zsar_bench.tolerance import tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zsar_bench.rounds import Round
    from zsar_bench.run_plan import RunPlan

# --- A matrix's numbers ------------------------------------------------------------------------


def numbers(rounds: Sequence[GzslRound], matrix: Matrix) -> Measured:
    """Every number that follows from a matrix and its operating points.

    Raises:
        ValueError: if there is no operating point for a clip.
    """
    found = sides(matrix.scores, matrix.labels, matrix.seen)
    if matrix.rounds.max() >= len(rounds):
        raise ValueError("clips of rounds that have no operating point")
    if matrix.unseen is None or matrix.logits is None:
        constants = np.array([one.constant for one in rounds])
        return measure(found, credit(found, constants[matrix.rounds]))
    given = np.zeros(len(matrix.ids))
    for number, one in enumerate(rounds):
        mine = matrix.rounds == number
        if one.gate is None or one.spread is None:
            raise ValueError(f"there is no gate for {one.round}")
        experts = _experts(
            matrix.unseen[mine], matrix.logits[mine], matrix.labels[mine], one.spread
        )
        given[mine] = gated(experts, _gate(one.gate).taken_for_seen(experts))
    return measure(found, given)


def _experts(unseen: Any, logits: Any, labels: Any, spread: float) -> Experts:
    return Experts(unseen.astype(np.float64) / spread, logits.astype(np.float64), labels)


def _gate(said: GzslGate) -> Gate:
    about = said.model_dump(exclude={"harmonic"})
    return Gate(**about | {"weights": tuple(said.weights)})


def named_numbers(found: Measured, kind: str) -> GzslNumbers:
    """The ``micro`` or ``macro`` numbers as a record says them."""
    balance, (best, constant) = found.balance[kind], found.best[kind]
    return GzslNumbers(
        seen=balance.seen,
        unseen=balance.unseen,
        harmonic=balance.harmonic,
        ausuc=found.ausuc[kind],
        oracle_harmonic=best,
        oracle_constant=constant,
    )


# --- A run's part ------------------------------------------------------------------------------


def assemble_gzsl(plan: RunPlan) -> tuple[GzslPart, Matrix]:
    """The part of a run and its matrix, from what its rehearsals and exams have left."""
    turns: list[GzslRotation] = []
    rounds: list[GzslRound] = []
    exams = []
    for number in range(len(plan.encoders)):
        said = read_said(plan, number)
        about = read_exam(plan, number)
        found, experts = _rotations(plan, number)
        turns += found
        rounds.append(_round(plan, number, said, about, found, experts))
        exams.append((said, about))
    matrix = _matrix(plan, [said for said, _ in exams])
    own = numbers(rounds, matrix)
    part = GzslPart(
        kind=plan.gzsl,  # type: ignore[arg-type]  # checked by the schema
        seen_clips=own.seen,
        unseen_clips=own.unseen,
        samples=digest(sorted(matrix.ids)),
        micro=named_numbers(own, "micro"),
        macro=named_numbers(own, "macro"),
        rounds=rounds,
        rotations=turns,
        rescoring=r.Rescoring(
            clips=sum(about["rescored"] for _, about in exams),
            largest_change=max(about["largest_change"] for _, about in exams),
            tolerance=tolerance(matrix.scores, plan.precision),
        ),
    )
    return part, matrix


def _rotations(plan: RunPlan, number: int) -> tuple[list[GzslRotation], list[Experts]]:
    """What the rehearsals of a round found, and what a gate learns from."""
    found, experts = [], []
    sources = rotation_sources(plan, number)
    for turn, about in enumerate(read_rotations(plan, number)):
        rehearsal, source = sources[turn]
        one, said = rehearsal.round, read_said(plan, number, turn)
        labels, seen = _labels(one, source.dataset.clips["class"]), _seen(one)
        best, constant = rehearsed(said.scores[: said.tested], labels, seen)
        rms = size(said.scores[said.tested :], seen)
        found.append(
            GzslRotation(
                round=plan.encoders[number].round.name,
                held_out=about["held_out"],
                performers=about["performers"],
                unseen_of=about["unseen_of"],
                seen_clips=len(one.test_seen),
                unseen_clips=len(one.test_unseen),
                encoder=about["encoder"],
                training_clips=about["training_clips"],
                size=rms,
                constant=constant,
                standing=constant / rms,
                harmonic=best,
            )
        )
        if said.unseen is not None and said.logits is not None:
            own, test = spread(said.unseen[said.tested :]), slice(said.tested)
            experts.append(_experts(said.unseen[test], said.logits[test], labels, own))
    return found, experts


def _round(
    plan: RunPlan,
    number: int,
    said: Said,
    about: dict[str, Any],
    found: list[GzslRotation],
    experts: list[Experts],
) -> GzslRound:
    one = plan.encoders[number].round
    rms = size(said.scores[said.tested :], _seen(one))
    standing, constant = carried([turn.standing for turn in found], rms)
    gate = None
    if experts:
        fitted, reached = fit_gate(experts, min(len(one.seen), len(one.unseen)))
        gate = GzslGate(**vars(fitted) | {"weights": list(fitted.weights)}, harmonic=reached)
    return GzslRound(
        round=one.name,
        training_clips=about["training_clips"],
        size=rms,
        standing=standing,
        constant=constant,
        spread=None if said.unseen is None else spread(said.unseen[said.tested :]),
        gate=gate,
        scored=about["scored"],
    )


def _matrix(plan: RunPlan, said: list[Said]) -> Matrix:
    clips = plan.encoders[0].dataset.clips
    rounds = [encoder.round for encoder in plan.encoders]
    index = [i for one in rounds for i in (*one.test_unseen, *one.test_seen)]

    def rows(name: str) -> NDArray[np.float32] | None:
        parts = [getattr(one, name) for one in said]
        if any(part is None for part in parts):
            return None
        return np.concatenate([p[: s.tested] for p, s in zip(parts, said, strict=True)])

    scores = rows("scores")
    assert scores is not None
    return Matrix(
        ids=[clips["id"][i] for i in index],
        labels=np.concatenate([_labels(one, clips["class"]) for one in rounds]),
        candidates=[*rounds[0].seen, *rounds[0].unseen],
        seen=_seen(rounds[0]),
        scores=scores,
        rounds=np.repeat(np.arange(len(said)), [one.tested for one in said]),
        unseen=rows("unseen"),
        logits=rows("logits"),
    )


def _labels(one: Round, classes: Sequence[str]) -> NDArray[np.int64]:
    """Columns of a round's test clips, unseen before seen; seen classes have the first columns."""
    column = {c: n for n, c in enumerate((*one.seen, *one.unseen))}
    tested = (*one.test_unseen, *one.test_seen)
    return np.array([column[classes[i]] for i in tested], dtype=np.int64)


def _seen(one: Round) -> NDArray[np.bool_]:
    return np.arange(len(one.seen) + len(one.unseen)) < len(one.seen)
