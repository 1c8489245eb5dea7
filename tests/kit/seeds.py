"""The seed of what tests draw: points at which commands are killed, files that are damaged.

``ZSAR_BENCH_TEST_SEED`` sets another one; the head of pytest's report tells which it was.
``-m slow`` takes all points instead of a sample.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from typing import Any

import pytest

VARIABLE = "ZSAR_BENCH_TEST_SEED"
SEED = int(os.environ.get(VARIABLE, "1"))


def sample(cases: Iterable[Any], count: int, name: str) -> list[Any]:
    """All cases as parameters, of which all but ``count`` bear the marker ``slow``.

    Args:
        cases: strings or parameters, in an order that does not change.
        count: how many are tried by default.
        name: of the test; two tests draw other cases.
    """
    cases = list(cases)
    drawn = {*random.Random(f"{SEED} {name}").sample(range(len(cases)), min(count, len(cases)))}
    slow = pytest.mark.slow
    return [one if n in drawn else pytest.param(one, marks=slow) for n, one in enumerate(cases)]
