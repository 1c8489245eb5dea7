"""Makes the raw files of Toy Motion: ``python -m zsar_toy.make FOLDER``.

Every class is one of three directions and one of two tempos; spine and head swing that way. A
texts file names both, so a class that was never seen can be told from its parts.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

CLASSES = (("up", 1.0), ("up", 3.0), ("side", 1.0), ("side", 3.0), ("front", 1.0), ("front", 3.0))
SUBJECTS, REPETITIONS = 8, 2
AXIS = {"side": 0, "up": 1, "front": 2}
#: Hip, spine, head, left hip, right hip: metres, y up.
REST = ((0.0, 0.9, 2.5), (0.0, 1.3, 2.5), (0.0, 1.7, 2.5), (-0.1, 0.9, 2.5), (0.1, 0.9, 2.5))


def clip(number: int, subject: int, repetition: int) -> np.ndarray:
    """(T, 1, 5, 3) float32: class ``number``, subject and repetition from 1, 20 to 30 frames."""
    direction, tempo = CLASSES[number - 1]
    rng = np.random.default_rng([number, subject, repetition])
    size = 1 + 0.05 * (subject - 4.5) / 4.5  # belongs to the subject
    frames = int(rng.integers(20, 31))
    t = np.linspace(0, 1, frames)
    swing = 0.2 * np.sin(2 * np.pi * (tempo * t + rng.uniform()))
    joints = np.tile(np.array(REST) * size, (frames, 1, 1))
    joints[:, 1, AXIS[direction]] += 0.5 * swing
    joints[:, 2, AXIS[direction]] += swing
    joints += 0.005 * rng.standard_normal(joints.shape)
    return joints[:, None].astype(np.float32)


def write_raw(folder: Path) -> Path:
    """Write all 96 files ``c{class}_s{subject}_r{repetition}.npy``; the same bytes every time."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, len(CLASSES) + 1):
        for subject in range(1, SUBJECTS + 1):
            for repetition in range(1, REPETITIONS + 1):
                name = f"c{number}_s{subject}_r{repetition}.npy"
                np.save(folder / name, clip(number, subject, repetition), allow_pickle=False)
    return folder


if __name__ == "__main__":
    write_raw(Path(sys.argv[1]))
