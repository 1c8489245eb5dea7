"""Records of runs, made from what each clip is worth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zsar_bench.records.files import seal_run
from zsar_bench.records.schema import Record

SUBJECTS = tuple("12345678")
CLASSES = ("a5", "a15", "a18")


@dataclass(frozen=True)
class Clips:
    """What a run got right, clip by clip: the plain form that everything is checked against."""

    correct: np.ndarray  #: (N,) credit
    action: list[str]
    subject: list[str]

    def of(self, subject: str) -> list[float]:
        return [c for c, p in zip(self.correct, self.subject, strict=True) if p == subject]

    def top1(self) -> float:
        return float(sum(self.correct) / len(self.correct))

    def mean_class(self, subject: str | None = None) -> float:
        rows = [
            (c, a)
            for c, a, p in zip(self.correct, self.action, self.subject, strict=True)
            if subject in (None, p)
        ]
        shares = []
        for name in sorted({a for _, a in rows}):
            of_class = [c for c, a in rows if a == name]
            shares.append(sum(of_class) / len(of_class))
        return sum(shares) / len(shares)


def clips(seed: int, rate: float = 0.5, subjects: tuple[str, ...] = SUBJECTS) -> Clips:
    """Random credits; subjects and classes have unequal numbers of clips, always the same."""
    rng = np.random.default_rng(seed)
    action, subject = [], []
    for i, p in enumerate(subjects):
        for j, a in enumerate(CLASSES):
            count = 2 + (i + 2 * j) % 4
            action += [a] * count
            subject += [p] * count
    return Clips((rng.uniform(size=len(action)) < rate).astype(float), action, subject)


def exactly(rates: list[float], wobble: int = 0) -> Clips:
    """20 clips a subject and class, of which the subject's share is right."""
    correct: list[float] = []
    action, subject = [], []
    for i, (p, rate) in enumerate(zip(SUBJECTS, rates, strict=True)):
        for a in CLASSES:
            right = round(20 * rate) + (wobble if i % 2 else -wobble)
            correct += [1.0] * right + [0.0] * (20 - right)
            action += [a] * 20
            subject += [p] * 20
    return Clips(np.array(correct), action, subject)


def record(result: Clips, name: str = "m", seeds: tuple[int, int] = (0, 0), **more: Any) -> Any:
    """A plausible record; ``more`` overrides parts, e.g. ``protocol={"id": ...}``."""
    cells: dict[str, dict[str, list[float]]] = {}
    for c, a, p in zip(result.correct, result.action, result.subject, strict=True):
        cell = cells.setdefault(a, {}).setdefault(p, [0.0, 0])
        cell[0] += float(c)
        cell[1] += 1
    counts = [result.action.count(a) for a in sorted(set(result.action))]
    value: dict[str, Any] = {
        "run_id": "0123456789abcdef",
        "identity": {"version": 1},
        "created": "2026-11-24T02:00:00+00:00",
        "protocol": {
            "id": "toy-4-2",
            "dataset": "toy-motion",
            "digest": "d",
            "data": "x",
            "samples": "s",
            "rule": "performer-cross-fit",
            "seen": ["a1", "a2"],
            "unseen": list(CLASSES),
            "expected_clips": len(result.correct),
        },
        "method": {
            "name": name,
            "plugin": "toy",
            "digest": "c" * 64,
            "profile": "paper",
            "science": {"rate": 0.1, "width": 64},
            "runtime": {"batch": 8},
            "hp": "untuned",
            "declared_setting": "inductive",
            "setting": "inductive",
        },
        "encoder": {
            "name": "net",
            "plugin": "toy",
            "digest": "e",
            "profile": "laptop",
            "science": {},
            "origin": "certified",
            "rounds": [
                {
                    "round": f"half-{n}",
                    "key": "k",
                    "train_clips": 9,
                    "train_subjects": ["1"],
                    "seen_accuracy": share,
                    "seconds": 1.0,
                }
                for n, share in ((1, 0.8), (2, 0.9))
            ],
        },
        "texts": {
            "encoder": "tower",
            "plugin": "toy",
            "digest": "t",
            "science": {},
            "fingerprint": "w",
            "source": "a",
            "version": 1,
            "fields": ["motion", "name"],
            "texts": "words",
        },
        "encoder_seed": seeds[0],
        "method_seed": seeds[1],
        "selection": "last",
        "metrics": {
            "clips": len(result.correct),
            "top1": result.top1(),
            "mean_class": result.mean_class(),
            "chance": 1 / 3,
            "chance_top1": 1 / 3,
            "majority_class": max(counts) / len(result.correct),
            "tied": 0,
            "cells": cells,
        },
        "rescoring": {"clips": 64, "largest_change": 0.0, "tolerance": 0.001},
        "choices": [],
        "environment": {
            "zsar_bench": "0.1.0",
            "commit": "",
            "dirty": None,
            "python": "3.11.0",
            "torch": "2.13.0",
            "platform": "Linux",
            "device": "cpu",
            "device_name": "",
            "threads": 1,
            "precision": "float32",
            "confinement": "process",
        },
        "seconds": {"fit": 2.0, "score": 0.5},
    }
    for part, changes in more.items():
        value[part] = (value.get(part) or {}) | changes if isinstance(changes, dict) else changes
    return Record.model_validate(value)


BEST = [0.9, 0.85, 0.95, 0.9, 0.8, 0.9, 0.85, 0.95]
FAR = [0.4, 0.35, 0.5, 0.35, 0.3, 0.45, 0.4, 0.4]
CLOSE = [0.95, 0.75, 0.9, 0.95, 0.75, 0.95, 0.75, 0.95]


def store(results: Path, run_id: str, one: Any) -> Path:
    folder = results / "runs" / one.protocol.id / one.method.name / run_id
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(one.model_dump_json())
    seal_run(folder)
    return folder
