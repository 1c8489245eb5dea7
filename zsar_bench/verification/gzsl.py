"""Checks of a record's GZSL numbers against its matrix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zsar_bench.common.hashing import digest
from zsar_bench.metrics.accuracy import tolerance
from zsar_bench.plans.holdouts import GATE
from zsar_bench.records.gzsl_matrix import FILE, Matrix, read_matrix
from zsar_bench.records.parts import GzslPart
from zsar_bench.runs.gzsl import named_numbers, numbers, rotation_numbers, round_numbers

if TYPE_CHECKING:
    from zsar_bench.data.protocols.splits import UnseenClips
    from zsar_bench.records.schema import Record

ROUNDING = 1e-9  #: of a number; by the order of summation
CLOSE = 1e-6  #: of calibration numbers, whose fits differ slightly between machines


def gzsl_faults(
    record: Record, part: GzslPart, folder: Path, unseen: dict[str, str], tested: UnseenClips | None
) -> Iterator[str]:
    """Sentences about what is wrong; none if nothing is.

    Args:
        record: of the run.
        part: its GZSL part.
        folder: holds the matrix.
        unseen: clip id -> class of the predictions.
        tested: the protocol's test clips in the local data; None without these.

    Raises:
        UserError: if the matrix is missing or damaged.
    """
    matrix, p = read_matrix(folder / FILE), record.protocol
    if matrix.candidates != [*p.seen, *p.unseen] or matrix.seen.sum() != len(p.seen):
        yield "gzsl: the matrix's classes are not the protocol's seen and unseen ones"
        return
    clips: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for clip, label in zip(matrix.ids, matrix.labels, strict=True):
        clips[bool(matrix.seen[label])][clip] = matrix.candidates[label]
    if clips[False] != unseen:
        yield "gzsl: its clips of unseen classes are not those of the predictions"
    if tested is not None:
        shared = clips[True].keys() & tested.seen.keys()
        if any(clips[True][clip] != tested.seen[clip] for clip in shared):
            yield "gzsl: clips of seen classes have another class in the data here"
        if tested.data == p.data and clips[True] != tested.seen:
            yield "gzsl: its clips of seen classes are not the protocol's"
    yield from _faults(part, matrix, record.environment.precision)


def _faults(part: GzslPart, matrix: Matrix, precision: str) -> Iterator[str]:
    """Sentences about numbers of a record that do not follow from its matrix."""
    if (part.kind == GATE) != (matrix.logits is not None):
        yield f"gzsl.kind: it is {part.kind}, and the matrix is another's"
        return
    if digest(sorted(matrix.ids)) != part.samples or len({*matrix.ids}) != len(matrix.ids):
        yield "gzsl.samples: it is not the digest of the matrix's clips"
    allowed = tolerance(matrix.scores, precision)
    if not np.isclose(part.rescoring.tolerance, allowed, rtol=1e-3):
        yield "gzsl.rescoring.tolerance: it does not follow from the matrix"
    try:
        yield from _calibration_faults(part, matrix)
        measured = numbers(part.rounds, matrix)
    except ValueError as error:
        yield f"gzsl: {error}"
        return
    if (part.seen_clips, part.unseen_clips) != (measured.seen, measured.unseen):
        yield "gzsl: its clips of seen and unseen classes are not the matrix's"
    for kind, recorded in (("top1", part.top1), ("mean_class", part.mean_class)):
        for name, value in named_numbers(measured, kind).model_dump().items():
            stored = getattr(recorded, name)
            if not abs(stored - value) <= ROUNDING * max(1.0, abs(value)):  # NaN included
                yield f"gzsl.{kind}.{name}: the record says {stored:.6g}, its matrix {value:.6g}"


def _calibration_faults(part: GzslPart, matrix: Matrix) -> Iterator[str]:
    """Whether rotations and operating points follow from their scores.

    Raises:
        ValueError: if they cannot be computed.
    """
    if (len(part.rotations), len(part.rounds)) != (len(matrix.rotations), len(matrix.training)):
        yield "gzsl: its rounds and rotations are not the matrix's"
        return
    known, experts = int(matrix.seen.sum()), []
    for turn, predicted in zip(part.rotations, matrix.rotations, strict=True):
        values, expert = rotation_numbers(predicted, known - len(turn.held_out))
        experts.append(expert)
        of_unseen = predicted.labels >= known - len(turn.held_out)
        counts = (turn.unseen_clips, turn.seen_clips, turn.training_clips)
        trained = len(predicted.scores) - len(predicted.labels)
        in_matrix = (of_unseen.sum(), (~of_unseen).sum(), trained)
        if counts != in_matrix or predicted.scores.shape[1] != known:
            yield f"gzsl.rotations: clips or classes of one of {turn.round} are not the matrix's"
        if not _close(values, turn.model_dump()):
            yield f"gzsl.rotations: one of {turn.round} does not follow from its scores"
    for number, point in enumerate(part.rounds):
        mine = [n for n, turn in enumerate(part.rotations) if turn.round == point.round]
        normalized = [part.rotations[n].normalized_constant for n in mine]
        used = [e for n in mine if (e := experts[n]) is not None]
        if not mine:
            yield f"gzsl.rotations: there is none of {point.round}"
            continue
        computed = round_numbers(matrix.training[number], matrix.seen, normalized, used)
        gate = computed.pop("gate")
        same = (gate is None) == (point.gate is None)
        if gate is not None and point.gate is not None:
            same = _close(gate.model_dump(), point.gate.model_dump())
        if not same or not _close(computed, point.model_dump()):
            yield f"gzsl.rounds: the point of {point.round} does not follow from its rotations"
        if point.training_clips != len(matrix.training[number].scores):
            yield f"gzsl.rounds: training clips of {point.round} are not the matrix's"


def _close(computed: dict[str, Any], recorded: dict[str, Any]) -> bool:
    """Whether recorded numbers equal computed ones up to rounding."""
    for name, value in computed.items():
        stored = recorded[name]
        if value is None or stored is None:
            if value is not stored:
                return False
        elif np.shape(value) != np.shape(stored) or not np.allclose(
            value, stored, rtol=CLOSE, atol=CLOSE
        ):
            return False
    return True
