"""Reads Toy Motion: one ``.npy`` file a clip, (T, 1, 5, 3) float32 in metres."""

from __future__ import annotations

import io
import os
import re
import time
from typing import Any

import numpy as np

from zsar_bench.contracts import ClipName
from zsar_bench.errors import DataError

SLEEP = "ZSAR_BENCH_TOY_SLEEP"  # seconds a clip takes, for tests that kill
_NAME = re.compile(r"(c\d+)_s(\d+)_r(\d+)\.npy")


class Reader:
    """``zsar_bench.contracts.DatasetReader``."""

    def identify(self, name: str) -> ClipName | None:
        """``.../c1_s2_r1.npy`` is a clip of class c1 by subject 2."""
        match = _NAME.fullmatch(name.rpartition("/")[2])
        return ClipName(match[0].removesuffix(".npy"), match[1], match[2]) if match else None

    def read(self, data: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The array; whatever is wrong with the file is said."""
        time.sleep(float(os.environ.get(SLEEP, "0")))
        if not data:
            raise DataError("the file is empty")
        try:
            array = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise DataError(f"it is not a whole .npy file ({error})") from None
        if array.ndim != 4 or array.shape[1:] != (1, 5, 3) or not len(array):
            raise DataError(f"the shape is {array.shape}, not (frames, 1, 5, 3)")
        if array.dtype != np.float32:
            raise DataError(f"it holds {array.dtype}, not float32")
        if not np.isfinite(array).all():
            raise DataError("it holds values that are not finite")
        return array
