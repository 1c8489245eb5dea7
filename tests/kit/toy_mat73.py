"""A writer of small MATLAB 7.3 files."""

from __future__ import annotations

import io
from typing import Any

import h5py
import numpy as np


def mat(
    values: np.ndarray,
    chunk: tuple[int, ...] = (),
    packed: bool = True,
    compact: bool = False,
    name: str = "A",
) -> bytes:
    """A file with this array, its axes as HDF5 has them: compact, in one piece, or in chunks."""
    out = io.BytesIO()
    with h5py.File(out, "w", userblock_size=512, libver="earliest") as file:
        if compact:
            kept = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            kept.set_layout(h5py.h5d.COMPACT)
            kind, space = h5py.h5t.py_create(values.dtype), h5py.h5s.create_simple(values.shape)
            made = h5py.h5d.create(file.id, name.encode(), kind, space, kept)
            made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(values))
        else:
            how: dict[str, Any] = {"chunks": chunk} if chunk else {}
            how |= {"compression": "gzip"} if chunk and packed else {}
            file.create_dataset(name, data=values, track_times=False, **how)
    head = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    return head + out.getvalue()[len(head) :]
