"""The seed of what tests draw: the points at which commands are killed.

``ZSAR_BENCH_TEST_SEED`` sets another one; the head of pytest's report tells which it was.
"""

from __future__ import annotations

import os

VARIABLE = "ZSAR_BENCH_TEST_SEED"
SEED = int(os.environ.get(VARIABLE, "1"))
