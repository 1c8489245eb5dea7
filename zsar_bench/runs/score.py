"""Clips scored in workers: candidates first, then clips without labels, in shuffled chunks.
(With labels where a method declares a leak and it is on: such a run is marked and not ranked.)

A second worker scores some clips again, one at a time and in another order: scores that depend on
other clips change there. These clips are drawn in secret, so that a method cannot treat them
differently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.common.code_digest import file_digest
from zsar_bench.common.events import Event
from zsar_bench.common.hashing import content_order, derive_seed, secret_draw
from zsar_bench.data.protocols.splits import Round
from zsar_bench.errors import RunFailed
from zsar_bench.features.source import FeatureSource
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.runs.fit import shuffled, write_texts
from zsar_bench.sandbox.checkpoint_stream import confinement_of, empty_folder, expect
from zsar_bench.sandbox.client import Worker
from zsar_bench.sandbox.wire import LABELS, PER_TOKEN

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


SCORE_CHUNK = 128  #: clips scored at once
RESCORED = 64  #: clips of a run that are scored again, one at a time


@dataclass(frozen=True)
class EvaluationSet:
    """Clips to be scored and the classes to choose among.

    Attributes:
        plan: the run.
        source: features of the clips.
        clips: their indices.
        one: round whose classes the texts are of.
        classes: the candidates, in the order of the scores' columns.
        name: seeds and orders derive from it.
        folder: an existing folder for texts and workers.
        owner: of the sealed states.
        stage: for events.
    """

    plan: RunPlan
    source: FeatureSource
    clips: list[int]
    round: Round
    classes: tuple[str, ...]
    name: str
    folder: Path
    owner: str
    stage: str = "score"

    @cached_property
    def inputs(self) -> dict[str, NDArray[Any]]:
        """Feature tensors of the clips."""
        return self.source.read(self.clips, self.plan.wants)

    @cached_property
    def contents(self) -> list[bytes]:
        return self.source.dataset.contents(self.clips)

    @cached_property
    def candidates(self) -> tuple[list[str], list[int]]:
        """Classes as a worker gets them, and their places in ``classes``."""
        return shuffled(self.plan, self.classes, self.name)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(n,) place of each clip's class among the candidates as a worker gets them, -1 where
        it is none. Only for runs that are marked as leaking."""
        import numpy as np

        place = {c: n for n, c in enumerate(self.candidates[0])}
        classes = self.source.dataset.clips["class"]
        return np.array([place.get(classes[i], -1) for i in self.clips], dtype=np.int64)

    @property
    def texts(self) -> Path:
        return self.folder / "candidates.safetensors"

    @property
    def transductive(self) -> bool:
        return bool(self.plan.method.spec["setting"] == "transductive")

    def order(self, purpose: str) -> NDArray[np.int64]:
        """A shuffled order of the clips."""
        return content_order(self.contents, purpose, self.plan.fit_id, self.name)

    def digest(self) -> str:
        """SHA-256 over all that a worker gets to score: texts of candidates, and clips."""
        total = hashlib.sha256(file_digest(self.texts).encode())
        for name, array in sorted(self.inputs.items()):
            total.update(f"{name} {array.dtype.str} {array.shape} ".encode())
            total.update(array.tobytes())
        if "clips" in self.plan.wants:
            for content in self.contents:
                total.update(content)
        if self.plan.leak:
            total.update(self.labels.tobytes())
        return total.hexdigest()


class Scorer:
    """A worker bound to the candidates of an evaluation set. Use as a context manager.

    Args:
        evaluation: clips and candidates.
        states: files of states; the first is used until ``use``.
        on_event: gets progress events.
        name: of the worker's own folder, which is emptied.
    """

    def __init__(
        self,
        evaluation: EvaluationSet,
        states: Sequence[Path],
        on_event: Event,
        name: str = "score",
    ) -> None:
        self.evaluation = evaluation
        self.seen: dict[str, Any] = {}
        self._chunk = SCORE_CHUNK
        self._on_event = on_event
        plan = evaluation.plan
        if not evaluation.texts.is_file():
            write_texts(plan, evaluation.round, evaluation.candidates[0], evaluation.texts)
        job = plan.machine.job(
            "score",
            plan.method,
            plan.params.values,
            texts=str(evaluation.texts),
            fields=plan.fields,
            layout=evaluation.source.dataset.layout,
            states=[str(s) for s in states],
            owner=evaluation.owner,
            seed=derive_seed("score", plan.method_seed, plan.encoder_seed, evaluation.name),
            workdir=str(empty_folder(evaluation.folder / name)),
            adapt=evaluation.transductive,
            encoder=evaluation.source.encoder_job() if plan.method.spec["needs_encoder"] else None,
        )
        reads = [str(evaluation.texts), *(str(s) for s in states)]
        reads += [job["encoder"]["state"]] if job["encoder"] else []

        def report(event: dict[str, Any]) -> None:
            on_event({"stage": "score", **event})

        self._worker = Worker(job | {"reads": reads}, Path(job["workdir"]), report)

    def __enter__(self) -> Scorer:
        try:
            self._bind(self._worker.answer())
        except BaseException as error:
            self._worker.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, *about: Any) -> None:
        self.seen = confinement_of(self._worker)
        self._worker.__exit__(*about)

    def _bind(self, answer: Any) -> None:
        """Wait until the worker is bound to the candidates; clips are sent after that."""
        expect(answer, "bound", "it was bound")
        if self.evaluation.transductive:
            everything = self._request(self.evaluation.order("clips"))
            expect(self._worker.ask(everything), "adapted", "it was adapted")

    def use(self, state: int) -> None:
        """Bind with another of the states."""
        self._bind(self._worker.ask({"use": state}))

    def all(self) -> NDArray[np.float32]:
        """Scores (n, K) of all clips, sent in shuffled chunks."""
        import numpy as np

        evaluation, order = self.evaluation, self.evaluation.order("clips")
        scores = np.empty((len(order), len(evaluation.classes)), dtype=np.float32)
        for start in range(0, len(order), SCORE_CHUNK):
            rows = order[start : start + SCORE_CHUNK]
            scores[rows] = self.rows(rows)
            self._on_event(
                {"stage": evaluation.stage, "step": start + len(rows), "total": len(order)}
            )
        return scores

    def rows(self, rows: NDArray[np.int64], jitter: float = 0.0) -> NDArray[np.float32]:
        """Scores (len(rows), K) of some clips; fewer at once where memory is short.

        Args:
            rows: places in ``evaluation.clips``.
            jitter: noise to be added to what is sent, as a share of its spread.
        """
        import numpy as np

        parts: list[NDArray[np.float32]] = []
        start = 0
        while start < len(rows):
            some = rows[start : start + self._chunk]
            answer = self._worker.ask(self._request(some, jitter))
            if isinstance(answer, dict) and "too many" in answer and len(some) > 1:
                self._chunk = len(some) // 2
                continue
            parts.append(self._read(answer, len(some)))
            start += len(some)
        return np.concatenate(parts)

    def _request(self, rows: NDArray[np.int64], jitter: float = 0.0) -> bytes:
        """Some clips as a worker gets them: features and what else the method wants."""
        import numpy as np
        from safetensors.numpy import save

        evaluation, inputs = self.evaluation, self.evaluation.inputs.items()
        request = {n: a if n in PER_TOKEN else np.ascontiguousarray(a[rows]) for n, a in inputs}
        if "clips" in evaluation.plan.wants:
            request |= evaluation.source.raw([evaluation.clips[r] for r in rows])
        if evaluation.plan.leak:
            request[LABELS] = evaluation.labels[rows]
        if jitter:
            request = {n: _jittered(a, jitter) for n, a in request.items()}
        return save(request)

    def _read(self, answer: Any, count: int) -> NDArray[np.float32]:
        """A chunk's scores, columns in the order of ``evaluation.classes``.

        Raises:
            RunFailed: unless they are finite numbers of the right shape.
        """
        import numpy as np
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            scores = load(answer)["scores"]
            fits = scores.dtype == np.float32 and scores.shape == (
                count,
                len(self.evaluation.classes),
            )
        except (SafetensorError, KeyError, TypeError, ValueError, AttributeError):
            fits = False
        if not fits:
            raise RunFailed("the worker's answer holds no scores of these clips and classes")
        bad = int((~np.isfinite(scores)).sum())
        if bad:
            raise RunFailed(f"score() gave {bad} values that are not finite")
        back = np.empty(len(self.evaluation.classes), dtype=np.int64)
        back[self.evaluation.candidates[1]] = np.arange(len(back))
        ordered: NDArray[np.float32] = np.ascontiguousarray(scores[:, back])
        return ordered


def _jittered(array: NDArray[Any], share: float) -> NDArray[Any]:
    """An array with noise added, a share of its spread; integers stay as they are."""
    import numpy as np

    if array.dtype.kind != "f":
        return array
    noise = np.random.default_rng(0).standard_normal(array.shape)
    moved: NDArray[Any] = (array + share * array.std() * noise).astype(array.dtype)
    return moved


def rescore(
    evaluation: EvaluationSet, state: Path, scores: NDArray[np.float32], count: int, on_event: Event
) -> tuple[float, int, dict[str, Any]]:
    """Score some clips again, one at a time in another order, in a new worker.

    Args:
        evaluation: what was scored.
        state: file of the state that was used.
        scores: (n, K) its scores.
        count: clips to score again.
        on_event: gets progress events.

    Returns:
        Largest absolute change of a score, clips scored again, how the worker was confined.
    """
    import numpy as np

    change = 0.0
    again = secret_draw(len(evaluation.clips), count)
    with Scorer(evaluation, [state], on_event, "rescore") as scorer:
        for row in again:
            once_more = scorer.rows(np.array([row]))
            change = max(change, float(np.abs(once_more - scores[row]).max()))
    return change, len(again), scorer.seen


def score_states(
    evaluation: EvaluationSet, points: Sequence[Path], on_event: Event
) -> list[NDArray[np.float32]]:
    """Scores (n, K) by each of these states; a state that stands there twice is used once."""
    states = list(dict.fromkeys(points))
    scores: dict[Path, NDArray[np.float32]] = {}
    with Scorer(evaluation, states, on_event, "select") as scorer:
        for number, state in enumerate(states):
            if number:
                scorer.use(number)
            scores[state] = scorer.all()
            on_event({"stage": "select", "step": number + 1, "total": len(states)})
    return [scores[state] for state in points]
