"""Makes clips like Toy Motion's: a joint swings along one of three axes, slowly or fast.

Its parameter ``fault`` breaks the contract on purpose.
"""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zsar_bench.contracts import ClipName
from zsar_bench.params import Params, runtime, science

SLEEP = "ZSAR_BENCH_TOY_SLEEP"  # seconds a clip takes, for tests that kill
REACH = tomllib.loads((Path(__file__).parent / "stand_in.toml").read_text("utf-8"))["reach"]


class StandInParams(Params):
    """Size and length of the set."""

    subjects: int = science(8, "subjects", ge=1, le=50)
    noise: float = science(0.0, "metres", ge=0.0)
    style: str = science("plain", "goes into the random seed")
    block: int = runtime(16, "clips computed at once", ge=1)
    fault: Literal["", "together", "count", "nan"] = science("", "contract to break")


class StandIn:
    """``zsar_bench.contracts.DatasetGenerator``."""

    def __init__(self, params: StandInParams) -> None:
        self.params = params

    def clips(self) -> list[ClipName]:
        """Six classes, two cameras; not in the store's order."""
        return [
            ClipName(f"c{c}_s{s}_v{v}", f"c{c}", str(s), camera=str(v), setup=str(1 + s % 2))
            for v in (1, 2)
            for s in range(1, self.params.subjects + 1)
            for c in range(1, 7)
        ]

    def make(self, ids: Sequence[str]) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        """Each from its own seed."""
        time.sleep(float(os.environ.get(SLEEP, "0")) * len(ids))
        made = [self._one(clip_id) for clip_id in ids]
        if self.params.fault == "together":
            made = [clip + len(ids) for clip in made]
        return made[1:] if self.params.fault == "count" else made

    def _one(self, clip_id: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        c, s, v = (int(part[1:]) for part in clip_id.split("_"))
        rng = np.random.default_rng([c, s, v, *self.params.style.encode()])
        t = np.linspace(0, 1, int(rng.integers(20, 31)))
        joints = np.zeros((len(t), 1, 5, 3), np.float32)
        joints[..., 1] = np.arange(5) / 3
        joints[:, 0, 2, c % 3] += REACH * np.sin(2 * np.pi * (1 + 2 * (c > 3)) * t)
        joints += self.params.noise * rng.standard_normal(joints.shape)
        if self.params.fault == "nan":
            joints[0, 0, 0, 0] = np.nan
        return joints.astype(np.float32)
