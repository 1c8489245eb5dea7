"""``gzsl.safetensors``: the scores from which a record's GZSL numbers are computed.

ids, candidates                          in the metadata, lists in JSON
labels, rounds, seen, scores             of the test clips; see ``Matrix``
unseen, logits                           of the same clips, for a gate
training-R.scores, .unseen, .logits      of training clips of round R's fit
rotation-N.labels, .scores, ...          of pseudo-unseen split N: labelled, then training clips
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zsar_bench.common.files import write_bytes
from zsar_bench.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = "gzsl.safetensors"


@dataclass(frozen=True)
class Predicted:
    """Scores of a fit and its encoder on clips; seen classes have the first columns.

    Attributes:
        labels: (n,) columns of the first n clips' classes; the others are training clips.
        scores: (n + m, K) over all classes, bound together.
        unseen: (n + m, K_u) over the unseen classes, bound alone; None without a gate.
        logits: (n + m, K_s) of the encoder over the seen classes; None without a gate.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    unseen: NDArray[np.float32] | None = None
    logits: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Matrix:
    """The test clips of all rounds, unseen before seen in each, over all classes.

    Attributes:
        ids: N clip ids.
        labels: (N,) column of the true class.
        candidates: K official class ids, seen ones first.
        seen: (K,) whether a class is seen.
        scores: (N, K) as the method returned them.
        rounds: (N,) number of the clip's round.
        unseen: (N, K_u) scores over the unseen classes alone; None without a gate.
        logits: (N, K_s) of the encoder over the seen classes; None without a gate.
        training: scores of each round's fit on training clips; no labels.
        rotations: scores of each pseudo-unseen split.
    """

    ids: list[str]
    labels: NDArray[np.int64]
    candidates: list[str]
    seen: NDArray[np.bool_]
    scores: NDArray[np.float32]
    rounds: NDArray[np.int64]
    unseen: NDArray[np.float32] | None = None
    logits: NDArray[np.float32] | None = None
    training: list[Predicted] = field(default_factory=list)
    rotations: list[Predicted] = field(default_factory=list)


_SCORES = ("scores", "unseen", "logits")
_TESTED = ("labels", "rounds", "seen", *_SCORES)
_TYPES = {"labels": "<i8", "rounds": "<i8", "seen": "|b1", **dict.fromkeys(_SCORES, "<f4")}


def write_matrix(path: Path, matrix: Matrix) -> None:
    """Store a GZSL matrix; equal matrices give equal bytes."""
    from safetensors.numpy import save

    from zsar_bench.records.files import sorted_header

    arrays = {name: getattr(matrix, name) for name in _TESTED}
    for group, predictions in (("training", matrix.training), ("rotation", matrix.rotations)):
        for number, predicted in enumerate(predictions):
            arrays |= {f"{group}-{number}.{name}": value for name, value in vars(predicted).items()}
    metadata = {"ids": json.dumps(matrix.ids), "candidates": json.dumps(matrix.candidates)}
    blob = save({n: a for n, a in arrays.items() if a is not None}, metadata=metadata)
    write_bytes(path, sorted_header(blob))


def read_matrix(path: Path) -> Matrix:
    """What ``write_matrix`` stored.

    Raises:
        UserError: naming the file, if it is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as f:
            metadata = f.metadata()
            ids, candidates = json.loads(metadata["ids"]), json.loads(metadata["candidates"])
            groups: dict[str, dict[str, Any]] = {}
            for key in f.keys():  # noqa: SIM118 - it is no mapping
                group, _, name = key.rpartition(".")
                groups.setdefault(group, {})[name] = f.get_tensor(key)
        training, rotations = (_numbered(groups, n) for n in ("training", "rotation"))
        matrix = Matrix(ids, candidates=candidates, training=training, rotations=rotations,
                        **groups.pop(""))  # fmt: skip
        fault = "it holds more than it should" if groups else _fault(matrix)
    # AttributeError: a type that numpy does not have, such as float8.
    except (
        SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError, AttributeError,
    ) as error:  # fmt: skip
        raise UserError(f"{path} is damaged: {error}.") from None
    if fault:
        raise UserError(f"{path} is damaged: {fault}.")
    return matrix


def _numbered(groups: dict[str, dict[str, Any]], name: str) -> list[Predicted]:
    """The groups ``name-0``, ``name-1`` and so on, removed from ``groups``."""
    predicted: list[Predicted] = []
    while f"{name}-{len(predicted)}" in groups:
        predicted.append(Predicted(**groups.pop(f"{name}-{len(predicted)}")))
    return predicted


def _fault(matrix: Matrix) -> str:
    """What is wrong with a matrix; empty if nothing."""
    for names in (matrix.ids, matrix.candidates):
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            return "its ids and candidates are no lists of texts"
    n, k = len(matrix.ids), len(matrix.candidates)
    known = int(np.count_nonzero(matrix.seen))
    shapes = {"labels": (n,), "rounds": (n,), "seen": (k,), "scores": (n, k)}
    gate = {"unseen": (n, k - known), "logits": (n, known)}
    shapes |= {} if matrix.logits is None and matrix.unseen is None else gate
    if _wrong(matrix, shapes):
        return "its test clips' arrays disagree"
    labels, rounds = matrix.labels, matrix.rounds
    if (
        not n
        or labels.min() < 0
        or labels.max() >= k
        or {*rounds.tolist()} != {*range(len(matrix.training))}
    ):
        return "its labels or rounds are none"
    if not 0 < known < k or not matrix.seen[:known].all():
        return "its seen classes do not stand first"
    if len(np.unique(matrix.seen[labels])) < 2:
        return "it lacks clips of seen or of unseen classes"
    for predicted in (*matrix.training, *matrix.rotations):
        rows, width = predicted.scores.shape
        shapes = {"labels": (len(predicted.labels),), "scores": (rows, width)}
        if matrix.logits is not None and predicted.logits is not None:
            mine = predicted.logits.shape[1]
            shapes |= {"unseen": (rows, width - mine), "logits": (rows, mine)}
        if _wrong(predicted, shapes) or (predicted.logits is None) != (matrix.logits is None):
            return "arrays of its training clips and rotations disagree"
        if (
            len(predicted.labels) >= rows
            or ((predicted.labels < 0) | (predicted.labels >= width)).any()
        ):
            return "labels of its rotations are none"
    return ""


def _wrong(arrays: Matrix | Predicted, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Whether arrays differ from these shapes or their types, or are not finite."""
    present = {n: a for n in _TESTED if (a := getattr(arrays, n, None)) is not None}
    return present.keys() != shapes.keys() or any(
        array.shape != shapes[name]
        or array.dtype.str != _TYPES[name]
        or not np.isfinite(array).all()
        for name, array in present.items()
    )
