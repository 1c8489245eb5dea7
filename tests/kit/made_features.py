"""Feature files as papers release them, made of random numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from zsar_bench.common.classes import ActionClass
from zsar_bench.data.protocols.protocol import CROSS_FIT, Protocol

#: As toy-4-2 says: labels of seen and unseen classes.
SEEN, UNSEEN = (0, 3, 4, 5), (1, 2)
CHANNELS = 7


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """A release of six classes, rows in a random order: 40 seen, 21 unseen, 61 of both."""
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal((6, CHANNELS))

    def part(labels: list[int]) -> tuple[np.ndarray, np.ndarray]:
        shuffled = rng.permutation(labels)
        noise = 0.5 * rng.standard_normal((len(labels), CHANNELS))
        return (centre[shuffled] + noise).astype(np.float32), shuffled.astype(np.int64)

    train, train_label = part([*SEEN] * 10)
    ztest, z_label = part([1] * 10 + [2] * 11)
    seen, seen_label = part([*SEEN] * 10)
    return {
        "train": train,
        "train_label": train_label,
        "ztest": ztest,
        "z_label": z_label,
        "gtest": np.concatenate([seen, ztest]),
        "g_label": np.concatenate([seen_label, z_label]),
        "label_splits/ru2": np.array([2, 1]),  # in no order, as in published files
        "label_splits/rs4": np.array(SEEN),
    }


def write(folder: Path, values: dict[str, Any]) -> Path:
    (folder / "label_splits").mkdir(parents=True, exist_ok=True)
    for name, array in values.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def protocol(**changes: Any) -> Protocol:
    values: dict[str, Any] = {
        "id": "toy-4-2",
        "dataset": "toy-motion",
        **dict.fromkeys(("title", "family", "source", "confidence", "notes"), ""),
        "aliases": (),
        "seen": tuple(f"c{n + 1}" for n in SEEN),
        "unseen": tuple(f"c{n + 1}" for n in UNSEEN),
        "rule": CROSS_FIT,
        "groups": (("1",), ("2",)),
        "test_clips": 32,
        "classes": tuple(ActionClass(f"c{n}", f"class {n}", "", "") for n in range(1, 7)),
    }
    return Protocol(**values | changes)
