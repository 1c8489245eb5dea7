"""How accuracy answers to what should matter, on the stand-in of NTU-60: the closed forms alone.

    python benchmarks/sensitivity.py

Factors, each alone, over random class splits:

- ``alignment``: share of the motions' words that stay where the class's meaning put them, a
  parameter of the generator. At 0 texts and motions have little in common.
- ``seen``: classes to learn from. What a smaller number keeps, a larger one keeps too.
- ``encoder``: share of the training subjects that the skeleton encoder learns from; the methods
  learn from all of them.

Everything runs in this process, without walls and records. Nothing here is a result: the figures
only say whether the stand-in notices what it should.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stand_in import Data, Run, data, padded
from zsar_alignment import eszsl, prototypes
from zsar_datasets import DATA
from zsar_encoders import minilm, st_gcn

from zsar_bench.common.classes import read_classes
from zsar_bench.common.hashing import hash_order
from zsar_bench.comparison.statistics import corrected_resampled_t
from zsar_bench.data.texts.texts import read_texts
from zsar_bench.views import EncoderTrain, SeenTrain, SkeletonInputs, TextBank

SET = "ntu-60"
UNSEEN = 5
#: Factor -> its values, and over how many random splits: one split alone is mostly luck.
FACTORS: dict[str, tuple[tuple[float, ...], int]] = {
    "alignment": ((0, 1), 8),
    "seen": ((10, 55), 4),
    "encoder": ((0.05, 1), 4),
}
METHODS = {
    "eszsl": lambda: eszsl.ESZSL(eszsl.Params()),
    "prototypes": lambda: prototypes.Prototypes(prototypes.Params()),
}
FIELDS = ("motion", "description")  #: the text recipe of both

Json = dict[str, Any]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Classes, counted from 0, of one random split."""

    seed: int
    seen: list[int]
    unseen: list[int]


def split(seed: int, seen: int) -> Split:
    """The split that ``random:5@seed`` names, with this many of its seen classes."""
    ids = [c.id for c in read_classes(DATA / SET / "classes.toml")]
    unseen = {*hash_order(ids, f"random:{UNSEEN}@{seed}")[:UNSEEN]}
    kept = {*hash_order([c for c in ids if c not in unseen], "seen")[:seen]}
    return Split(
        seed,
        [n for n, c in enumerate(ids) if c in kept],
        [n for n, c in enumerate(ids) if c in unseen],
    )


def few_subjects(d: Data, rows: Index, share: float) -> Index:
    """The rows of this share of their subjects, at least one subject."""
    subjects = hash_order({d.names[i].subject for i in rows}, "encoder")
    few = {*subjects[: max(1, round(share * len(subjects)))]}
    return np.array([i for i in rows if d.names[i].subject in few], np.int64)


@cache
def texts() -> TextBank:
    """All classes' texts of set ``a``."""
    classes = read_classes(DATA / SET / "classes.toml")
    said = read_texts("a", {"a": str(DATA / "ntu-120" / "texts-a.toml")}, classes)
    encoder = minilm.MiniLM(minilm.Params())
    return TextBank({f: encoder.encode([said.fields[f][c.id] for c in classes]) for f in FIELDS})


@cache
def clips(alignment: float) -> Data:
    """The whole data set; classes are numbered as their file lists them."""
    number = {c.id: n for n, c in enumerate(read_classes(DATA / SET / "classes.toml"))}
    d = data(SET, alignment)
    return replace(d, labels=np.array([number[n.class_id] for n in d.names]))


def accuracies(d: Data, one: Split, share: float = 1.0) -> dict[str, float]:
    """Top-1 accuracy of each method on the unseen classes of one split."""
    train = np.flatnonzero(d.train & np.isin(d.labels, one.seen))
    test = np.flatnonzero(~d.train & np.isin(d.labels, one.unseen))
    place = {c: n for n, c in enumerate(one.seen)}

    def labels(rows: Index) -> torch.Tensor:
        return torch.tensor([place[int(c)] for c in d.labels[rows]])

    def subjects(rows: Index) -> torch.Tensor:
        return torch.tensor([int(d.names[i].subject) for i in rows])

    encoder = st_gcn.STGCN(st_gcn.Params())
    few = few_subjects(d, train, share)
    seen = EncoderTrain(padded(d, few), labels(few), subjects(few), len(one.seen))
    encoder.fit(seen, Run(one.seed, lambda _: None))
    known = SkeletonInputs(encoder.encode(padded(d, train)).pooled)
    new = SkeletonInputs(encoder.encode(padded(d, test)).pooled)
    found = {}
    for name, make in METHODS.items():
        run = Run(one.seed, lambda _: None)
        run.texts = texts().rows(torch.tensor(one.seen))
        method = make()
        method.fit(SeenTrain(known, labels(train), subjects(train)), run)
        method.bind(texts().rows(torch.tensor(one.unseen)))
        guess = method.score(new).argmax(1).numpy()
        found[name] = float((np.array(one.unseen)[guess] == d.labels[test]).mean())
    return found


def point(factor: str, value: float, splits: int) -> list[dict[str, float]]:
    """Accuracies on every split, all factors but one at their defaults."""
    seen = int(value) if factor == "seen" else len(read_classes(DATA / SET / "classes.toml"))
    share = value if factor == "encoder" else 1.0
    d = clips(value if factor == "alignment" else 1.0)
    return [accuracies(d, split(seed, seen), share) for seed in range(splits)]


def sensitivity(factor: str) -> list[Json]:
    """One row a method: its accuracy at every value of a factor, as the mean over splits."""
    values, splits = FACTORS[factor]
    found = [point(factor, value, splits) for value in values]
    return [
        {
            "factor": factor,
            "splits": splits,
            "row": name,
            "points": [
                _point(factor, v, [a[name] for a in at])
                for v, at in zip(values, found, strict=True)
            ],
        }
        for name in METHODS
    ]


def _point(factor: str, value: float, top1: Sequence[float]) -> Json:
    seen = int(value) if factor == "seen" else 60 - UNSEEN
    test = corrected_resampled_t(top1, UNSEEN, seen)
    ends = (test.interval.low, test.interval.high) if test else (None, None)
    mean = float(np.mean(top1))
    return {
        "value": value,
        "top1": mean,
        "low": ends[0],
        "high": ends[1],
        "chance": 1 / UNSEEN,
    }


def measure() -> list[Json]:
    """The rows of all factors."""
    return [row for factor in FACTORS for row in sensitivity(factor)]


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
