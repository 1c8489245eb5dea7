"""What a record says about generalised zero-shot learning, and the score matrix beside it.

``gzsl.safetensors`` in a run's folder holds what every number of the part follows from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel

from zsar_bench.certificate import STRICT, doc
from zsar_bench.errors import UserError
from zsar_bench.paths import write_bytes
from zsar_bench.record_parts import Rescoring

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE = "gzsl.safetensors"


class _Part(BaseModel):
    model_config = STRICT


class GzslNumbers(_Part):
    """S, U, H and what stands around them, micro or macro; fractions."""

    seen: Annotated[float, doc("S: accuracy of clips of seen classes over all classes")]
    unseen: Annotated[float, doc("U: the same of unseen classes")]
    harmonic: Annotated[float, doc("H = 2SU / (S + U)")]
    ausuc: Annotated[float, doc("area under S over U as one constant takes every value")]
    oracle_harmonic: Annotated[
        float, doc("chosen on test: highest H that one constant for all rounds reaches")
    ]
    oracle_constant: Annotated[float, doc("chosen on test: that constant, off the seen scores")]


class GzslRotation(_Part):
    """One rehearsal: some seen classes and training performers were held out."""

    round: Annotated[str, doc("name of the round")]
    held_out: Annotated[list[str], doc("official ids of the seen classes that played unseen ones")]
    performers: Annotated[list[str], doc("training performers that nothing was learnt from")]
    unseen_of: Annotated[
        Literal["validation", "training"],
        doc("whose clips were pseudo-unseen: these performers', or all training performers'"),
    ]
    seen_clips: Annotated[int, doc("clips of kept classes by these performers")]
    unseen_clips: Annotated[int, doc("clips of held-out classes")]
    encoder: Annotated[str, doc("key of its own skeleton encoder")]
    training_clips: Annotated[int, doc("of its fit's training clips, those whose margins count")]
    size: Annotated[float, doc("root mean square of these margins; 1 where all are 0")]
    constant: Annotated[float, doc("of the best macro H in the rotation")]
    standing: Annotated[float, doc("constant / size: what is carried over")]
    harmonic: Annotated[float, doc("that macro H")]


class GzslGate(_Part):
    """A fitted gate; ``gzsl_gate`` says how it reads a clip."""

    k: Annotated[int, doc("softmax values that it reads of each expert")]
    temperature: Annotated[float, doc("of the method's scores, divided by their spread")]
    supervised: Annotated[float, doc("temperature of the encoder's logits")]
    threshold: Annotated[float, doc("probability of a seen class above which a clip is one's")]
    weights: Annotated[list[float], doc("of k values of the method, then of k of the encoder")]
    bias: Annotated[float, doc("of the logistic regression")]
    harmonic: Annotated[float, doc("mean macro H of the rotations, which it was chosen by")]


class GzslRound(_Part):
    """The operating point of one round."""

    round: Annotated[str, doc("name of the round")]
    training_clips: Annotated[int, doc("of its fit's training clips, those whose margins count")]
    size: Annotated[float, doc("root mean square of these margins; 1 where all are 0")]
    standing: Annotated[float, doc("median of its rotations' standings")]
    constant: Annotated[float, doc("standing x size; off the seen scores, unless there is a gate")]
    spread: Annotated[float | None, doc("of these clips' unseen scores; null without a gate")]
    gate: Annotated[GzslGate | None, doc("null without a gate")]
    scored: Annotated[
        list[str], doc("SHA-256 of candidates' texts and clips as sent, one for each binding")
    ]


class GzslPart(_Part):
    """Clips of seen and unseen classes judged over all classes."""

    kind: Annotated[Literal["constant", "gate"], doc("how the two sides are balanced")]
    seen_clips: Annotated[int, doc("tested clips of seen classes, by new performers")]
    unseen_clips: Annotated[int, doc("tested clips of unseen classes")]
    samples: Annotated[str, doc("digest of the sorted ids of all these clips")]
    micro: Annotated[GzslNumbers, doc("S and U as means over clips")]
    macro: Annotated[GzslNumbers, doc("S and U as means over classes")]
    rounds: Annotated[list[GzslRound], doc("operating points, round by round")]
    rotations: Annotated[list[GzslRotation], doc("rehearsals that they come from")]
    rescoring: Annotated[Rescoring, doc("clips scored again over all classes, one at a time")]


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
    """

    ids: list[str]
    labels: NDArray[np.int64]
    candidates: list[str]
    seen: NDArray[np.bool_]
    scores: NDArray[np.float32]
    rounds: NDArray[np.int64]
    unseen: NDArray[np.float32] | None = None
    logits: NDArray[np.float32] | None = None


_TYPES = {"labels": "<i8", "rounds": "<i8", "seen": "|b1", "scores": "<f4"}
_GATE = ("unseen", "logits")


def write_matrix(path: Path, matrix: Matrix) -> None:
    """Store a GZSL matrix; equal ones as equal bytes."""
    from safetensors.numpy import save

    from zsar_bench.record import sorted_header

    arrays = {name: getattr(matrix, name) for name in (*_TYPES, *_GATE)}
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
            about = f.metadata()
            ids, candidates = json.loads(about["ids"]), json.loads(about["candidates"])
            arrays = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 - no mapping
    # An AttributeError is of a type that numpy does not have, such as float8.
    except (
        SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError, AttributeError,
    ) as error:  # fmt: skip
        raise UserError(f"{path} is damaged: {error}.") from None
    fault = _fault(ids, candidates, arrays)
    if fault:
        raise UserError(f"{path} is damaged: {fault}.")
    return Matrix(ids=ids, candidates=candidates, **arrays)


def _fault(ids: object, candidates: object, arrays: dict[str, NDArray[np.generic]]) -> str:
    """What cannot be in such a file; empty if nothing."""
    import numpy as np

    if not all(
        isinstance(x, list) and all(isinstance(i, str) for i in x) for x in (ids, candidates)
    ):
        return "its ids and candidates are no lists of texts"
    assert isinstance(ids, list)
    assert isinstance(candidates, list)
    types = {**_TYPES, **(dict.fromkeys(_GATE, "<f4") if len(arrays) > len(_TYPES) else {})}
    if {name: array.dtype.str for name, array in arrays.items()} != types:
        return f"it must hold {', '.join(types)} of their types"
    known = int(np.count_nonzero(arrays["seen"]))
    n, k = len(ids), len(candidates)
    shapes = {"labels": (n,), "rounds": (n,), "seen": (k,), "scores": (n, k)}
    shapes |= {"unseen": (n, k - known), "logits": (n, known)}
    if any(array.shape != shapes[name] for name, array in arrays.items()):
        return "its shapes disagree"
    labels, rounds = arrays["labels"].astype(np.int64), arrays["rounds"].astype(np.int64)
    if not n or labels.min() < 0 or labels.max() >= k or rounds.min() < 0:
        return "its labels or rounds are none"
    if not 0 < known < k or not arrays["seen"][:known].all():
        return "its seen classes do not stand first"
    if not all(np.isfinite(arrays[m]).all() for m in types if types[m] == "<f4"):
        return "some of its numbers are not finite"
    if len(np.unique(arrays["seen"][labels])) < 2:
        return "it lacks clips of seen or of unseen classes"
    return ""
