"""SBU Kinect Interaction, clean part: one text file a clip, two persons, 15 joints each.

K. Yun, J. Honorio, D. Chattopadhyay, T. L. Berg, D. Samaras, "Two-person interaction detection
using body-pose features and multiple instance learning", CVPR workshops 2012.

A file such as ``s01s02/05/001/skeleton_pos.txt`` (pair, class, take) has a line a frame: its
number, then x y z of the first person's 15 joints and of the second's. The authors normalised the
values to the image; undone, in millimetres: x' = 1280 - 2560 x, y' = 960 - 1920 y,
z' = 10000 z / 7.8125. As the image's y points down, y' points up; z' is depth; and as x is turned
round too, the frame is right-handed, as that of the other Kinect data sets here: somebody who
faces the camera has the right hand on the positive side. Tests hold this against the skeletons:
shoulders are equally broad in every direction, people who approach each other have their right hand
on the right, and it is the right hands that meet when they are shaken.

The performer is a pair, as written: ``s01s02`` and ``s02s01`` are two sets of clips of the same two
people. (Which of them is the first body in the file is not said, and they act in turn.) Pairs
overlap in persons, so keeping performers apart means to look at both names of a pair;
``dataset.toml`` has groups of pairs that share nobody.
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

BODIES, JOINTS = 2, 15
COLUMNS = 1 + BODIES * JOINTS * 3
MAX_FRAMES = 1000  # the longest real clip has 46

ORIGIN = np.array([1.28, 0.96, 0.0])  # metres, of the normalised values' zero
SCALE = np.array([-2.56, -1.92, 1.28])  # metres a unit

_NAME = re.compile(r"(?:.*/)?(s(0[1-7])s(?!\2)0[1-7])/(0[1-8])/([0-9]{3})/skeleton_pos\.txt")


class Reader:
    """Reads clips of SBU Kinect Interaction (``zsar_bench.contracts.DatasetReader``)."""

    def identify(self, name: str) -> ClipName | None:
        """Clip of a file such as ``SBU/s01s02/05/001/skeleton_pos.txt``: class 05, pair s01s02."""
        match = _NAME.fullmatch(name)
        if match is None or "__MACOSX" in name.split("/"):
            return None
        pair, _, class_id, take = match.groups()
        return ClipName(f"{pair}_{class_id}_{take}", class_id, pair)

    def read(self, data: bytes) -> NDArray[np.float32]:
        """(T, 2, 15, 3) float32 in metres: the first and the second person of the pair.

        Raises:
            DataError: for anything that is not consecutive frames of finite joints of two persons
                in front of the camera.
        """
        rows = table(data, COLUMNS, MAX_FRAMES, b",")
        if (rows[:, 0] != rows[0, 0] + np.arange(len(rows))).any():
            raise DataError("its frames are not numbered one after the other", HINT)
        clip = ORIGIN + SCALE * rows[:, 1:].reshape(-1, BODIES, JOINTS, 3)
        if (clip[..., 2] <= 0).any():
            raise DataError("a joint is not in front of the camera: somebody is missing", HINT)
        return metres(clip)
