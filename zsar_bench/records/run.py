"""A finished run: its folder, its record, its predictions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zsar_bench.records.gzsl_matrix import Matrix
    from zsar_bench.records.schema import Record


@dataclass(frozen=True)
class Predictions:
    """The scores of a run's N tested clips over K candidate classes.

    Attributes:
        ids: clip ids.
        labels: (N,) column of the true class.
        candidates: official class ids, in the order of the columns.
        scores: (N, K), higher is better; NaN where a class was no candidate of a clip.
    """

    ids: list[str]
    labels: NDArray[np.int64]
    candidates: list[str]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class Run:
    """One finished run; its files are read on access.

    Attributes:
        folder: holds ``run.json``, ``predictions.safetensors``, ``events.jsonl`` and a seal.
    """

    folder: Path

    @property
    def id(self) -> str:
        """Digest of everything that can change a score, 16 hex digits."""
        return self.folder.name

    @cached_property
    def record(self) -> Record:
        """The content of ``run.json``, checked against schema and seal.

        Raises:
            UserError: if a file is not as the run left it.
        """
        from zsar_bench.records.files import read_record

        return read_record(self.folder)

    def predictions(self) -> Predictions:
        """Ids, labels, candidates and scores of the tested clips.

        Raises:
            UserError: if the file is not as the run left it.
        """
        from zsar_bench.records.files import read_predictions

        return Predictions(*read_predictions(self.folder / "predictions.safetensors"))

    def gzsl(self) -> Matrix | None:
        """Scores over all classes of a GZSL run; None for other runs."""
        from zsar_bench.records.gzsl_matrix import FILE, read_matrix

        path = self.folder / FILE
        return read_matrix(path) if path.is_file() else None

    def events(self) -> list[dict[str, Any]]:
        """Events of its workers in order: stage, step, total, losses."""
        path = self.folder / "events.jsonl"
        lines = path.read_text("utf-8").splitlines() if path.is_file() else []
        return [json.loads(line) for line in lines]

    def __repr__(self) -> str:
        r = self.record
        return (
            f"<Run {self.id}: {r.method.name} on {r.protocol.id}, seeds "
            f"{r.encoder_seed}/{r.method_seed}, top-1 {100 * r.metrics.top1:.1f} %>"
        )
