"""MSR Action3D in real-world coordinates: one text file a clip, 20 joints, 15 frames a second.

W. Li, Z. Zhang, Z. Liu, "Action recognition based on a bag of 3D points", CVPR4HB 2010; the
skeletons in metres come from J. Wang, Z. Liu, Y. Wu, J. Yuan, "Mining actionlet ensemble for action
recognition with depth cameras", CVPR 2012, which also lists the 557 clips that it used. Ten more
are on the disk, with skeletons that are wrong or missing; the field leaves them out, and so do we.

A file such as ``a01_s01_e02_skeleton3D.txt`` (action, subject, execution) has a line a joint and 20
lines a frame: x y z in metres in the camera's frame and the tracker's confidence, which is not
read. y is up and z is depth; x makes the frame right-handed, so that somebody who faces the camera
has the right hand on the positive side.

A frame of zeros means that the tracker saw nobody. Thirteen of the 557 clips have a stretch of
them, all of the classes a13 and a20, where somebody bends down. Those frames are taken out, as NTU
RGB+D's frames without a body are: a skeleton that jumps into the camera and back is a motion that
nobody made.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from zsar_bench.contracts import ClipName
from zsar_bench.errors import DataError
from zsar_datasets._numbers import HINT, metres, table

if TYPE_CHECKING:
    from numpy.typing import NDArray

JOINTS, COLUMNS = 20, 4
MAX_FRAMES = 3000  # the longest clip in use has 76, the longest of all 936

#: Clips outside the 557.
LEFT_OUT = frozenset(
    {
        "a02_s03_e02",
        "a04_s03_e01",
        "a07_s04_e01",
        "a13_s09_e01",
        "a13_s09_e02",
        "a13_s09_e03",
        "a14_s03_e01",
        "a20_s07_e01",
        "a20_s07_e03",
        "a20_s10_e03",
    }
)

_NAME = re.compile(r"((a(?:0[1-9]|1[0-9]|20))_s(0[1-9]|10)_e0[1-3])_skeleton3D\.txt")


class Reader:
    """Reads clips of MSR Action3D (``zsar_bench.contracts.DatasetReader``)."""

    def identify(self, name: str) -> ClipName | None:
        """Clip of a file such as ``.../a01_s01_e02_skeleton3D.txt``: class a01, subject 1."""
        match = _match(name)
        if match is None or match[1] in LEFT_OUT:
            return None
        return ClipName(match[1], match[2], str(int(match[3])))

    def left_out(self, name: str) -> str:
        """Why a file that is named like a clip is none; empty for all others."""
        match = _match(name)
        if match is None or match[1] not in LEFT_OUT:
            return ""
        return "not among the 557 clips that the field uses (Wang et al., CVPR 2012)"

    def read(self, data: bytes) -> NDArray[np.float32]:
        """(T, 1, 20, 3) float32 in metres, frames without anybody taken out.

        Raises:
            DataError: for anything that is not whole frames of finite joints of somebody.
        """
        rows = table(data, COLUMNS, MAX_FRAMES * JOINTS)
        if len(rows) % JOINTS:
            raise DataError(f"its {len(rows)} lines are no whole frames of {JOINTS} joints", HINT)
        clip = metres(rows[:, :3].reshape(-1, 1, JOINTS, 3))
        clip = clip[clip.any(axis=(1, 2, 3))]
        if not len(clip):
            raise DataError("nobody is in it: all its frames are zeros", HINT)
        return clip


def _match(name: str) -> re.Match[str] | None:
    *folders, base = name.split("/")
    return None if "__MACOSX" in folders else _NAME.fullmatch(base)
