"""UWA3D Multiview Activity II: 30 activities, 10 performers, four views, Kinect v1, 15 joints.

H. Rahmani, A. Mahmood, D. Huynh, A. Mian, "Histogram of oriented principal components for
cross-view action recognition", TPAMI 2016 (and ECCV 2014). Nothing here was checked against a real
file: the authors' page no longer answers. What is known comes from public code that read the
release (a script that opens ``ActionsSkeleton/a01_s01_e01_v01.mat`` with h5py and takes ``/A`` as
frames x 15 x 3; the joint groups of its companion):

- A clip is a file of activity, performer, repetition and view; some copies name the view before
  the repetition (``a01_s01_v01_e00``), and both orders are taken. Views: 1 front, 2 left, 3 right,
  4 top, each a performance of its own.
- The file is MATLAB 7.3 with one variable ``A``, in MATLAB 3 x 15 x frames or 45 x frames.
- The joints are those of NiTE; ``data/uwa3d-ii/layout.toml`` tells how their order was found.

Units are not known. Nothing before a Kinect is nearer than 0.4 m or farther than 10, so a clip with
a value beyond 50 is in millimetres, and any other in metres; no real clip can be mistaken.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from zsar_bench.contracts import ClipName
from zsar_bench.errors import DataError
from zsar_datasets.mat73 import read_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

VARIABLE, JOINTS = "A", 15
MAX_FRAMES = 5000
LARGEST = 16 * 2**20  # bytes of a file
FARTHEST = 50.0  # metres; a Kinect sees less than ten

_NAME = re.compile(
    r"a(0[1-9]|[12][0-9]|30)_s(0[1-9]|10)_"
    r"(?:e([0-9]{2})_v0([1-4])|v0([1-4])_e([0-9]{2}))\.mat"
)
_HINT = "Get this file again, or leave it out."


class Reader:
    """Reads clips of UWA3D Multiview Activity II (``zsar_bench.contracts.DatasetReader``)."""

    def identify(self, name: str) -> ClipName | None:
        """Clip of a file such as ``ActionsSkeleton/a01_s03_e02_v04.mat``; v is the camera."""
        *folders, base = name.split("/")
        match = _NAME.fullmatch(base)
        if match is None or "__MACOSX" in folders:
            return None
        action, subject, repetition, view = match[1], match[2], match[3] or match[6], match[4]
        view = view or match[5]
        return ClipName(
            f"a{action}_s{subject}_e{repetition}_v0{view}",
            str(int(action)),
            str(int(subject)),
            camera=view,
        )

    def read(self, data: bytes) -> NDArray[np.float32]:
        """(T, 1, 15, 3) float32 in metres.

        Raises:
            DataError: for anything that is not a whole, finite clip.
        """
        if len(data) > LARGEST:
            raise DataError(f"it is larger than {LARGEST >> 20} MiB, more than any clip", _HINT)
        values = read_array(data, VARIABLE, MAX_FRAMES * JOINTS * 3)
        if values.shape[1:] not in ((JOINTS, 3), (JOINTS * 3,)):
            shape = " x ".join(map(str, values.shape[::-1]))
            raise DataError(f"'{VARIABLE}' must be 3 x {JOINTS} x frames, not {shape}", _HINT)
        if not np.isfinite(values).all():
            raise DataError("it holds values that are not finite", _HINT)
        largest = np.abs(values).max()
        if largest > FARTHEST:
            values, largest = values / 1000, largest / 1000
        if not 0 < largest <= FARTHEST:
            raise DataError("its values cannot be places in front of a camera", _HINT)
        clip = values.reshape(len(values), 1, JOINTS, 3).astype(np.float32)
        if not clip.any():
            raise DataError("its values cannot be places in front of a camera", _HINT)
        return clip
