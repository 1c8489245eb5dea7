"""NW-UCLA (Northwestern-UCLA Multiview Action3D): one JSON file a clip, Kinect v1, 20 joints.

J. Wang, X. Nie, Y. Xia, Y. Wu, S.-C. Zhu, "Cross-view action modeling, learning and
recognition", CVPR 2014; in the files that the field passes on: ``a01_s01_e00_v01.json`` with
``skeletons`` (frames x 20 x 3, metres, camera frame, y up). Action numbers 7 and 10 do not exist.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from zsar_bench.contracts import ClipName
from zsar_bench.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = re.compile(r"(a(0[1-6]|08|09|11|12))_s(0[1-9]|10)_e(\d\d)_v(0[1-3])\.json")
JOINTS = 20
LARGEST = 10_000  #: frames; the longest real clip has 201
FARTHEST = 50.0  #: metres; a Kinect sees less than ten


class Reader:
    """Reader of NW-UCLA as ``zsar_bench.contracts.DatasetReader`` asks for it."""

    def identify(self, name: str) -> ClipName | None:
        """Clip of a file such as ``all_sqe/a01_s01_e00_v01.json``; v is the camera."""
        match = NAME.fullmatch(name.rpartition("/")[2])
        if match is None or "__MACOSX" in name:
            return None
        return ClipName(
            match[0].removesuffix(".json"), match[1], str(int(match[3])), camera=str(int(match[5]))
        )

    def read(self, data: bytes) -> NDArray[np.float32]:
        """(T, 1, 20, 3) float32 in metres.

        Raises:
            DataError: for anything that is not a whole, finite clip.
        """
        frames = _frames(data)
        try:
            clip = np.array(frames, dtype=np.float64)
        except (ValueError, TypeError, OverflowError):
            raise DataError("'skeletons' is not a regular array of numbers") from None
        if clip.ndim != 3 or clip.shape[1:] != (JOINTS, 3):
            raise DataError(f"'skeletons' has the shape {clip.shape}, not (frames, 20, 3)")
        if not np.isfinite(clip).all():
            raise DataError("it holds values that are not finite")
        if not clip.any() or np.abs(clip).max() > FARTHEST:
            raise DataError("its values cannot be metres in front of a camera")
        return clip[:, None].astype(np.float32)


def _frames(data: bytes) -> list[Any]:
    """The ``skeletons`` entry, checked to be a list of numbers' lists of a sane length."""
    if not data:
        raise DataError("it is empty")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise DataError("it is not valid JSON, perhaps truncated") from None
    frames = content.get("skeletons") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not frames:
        raise DataError("it has no list 'skeletons'")
    if len(frames) > LARGEST:
        raise DataError(f"it has {len(frames)} frames, more than any real clip")
    if _holds(frames, (str, bool)):
        raise DataError("'skeletons' holds other things than numbers")
    return frames


def _holds(frames: list[Any], kinds: tuple[type, ...]) -> bool:
    """Whether a value of these kinds, which numpy would silently convert, is among the leaves."""
    leaves = (
        value
        for frame in frames
        for joint in (frame if isinstance(frame, list) else [frame])
        for value in (joint if isinstance(joint, list) else [joint])
    )
    return any(isinstance(value, kinds) for value in leaves)
