"""Records of one method on one random class split."""

from __future__ import annotations

from typing import Any

from kit.made_records import clips, record
from zsar_bench.records.schema import Record

SEEN = [f"s{n}" for n in range(12)]  # with 3 unseen classes K_u/K_s is 1/4
FAMILY = "toy-15-3"


def split(number: int | None, seed: int, rate: float, name: str = "m", **more: Any) -> Record:
    """A run on random split ``number``, or on the published one."""
    protocol = FAMILY if number is None else f"{FAMILY}/random:3@{number}"
    part = {"id": protocol, "samples": f"clips {number}", "digest": f"d{number}", "seen": SEEN}
    return record(clips(seed, rate), name, protocol=part | more.pop("protocol", {}), **more)
