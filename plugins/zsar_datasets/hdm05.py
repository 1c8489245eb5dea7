"""HDM05, eleven motion classes of its cuts: optical motion capture, 120 Hz, 31 joints.

M. Mueller, T. Roeder, M. Clausen, B. Eberhardt, B. Krueger, A. Weber, "Documentation Mocap
Database HDM05", technical report CG-2007-2, Universitaet Bonn, 2007.

A clip is an AMC file of angles, ``HDM_bd_depositFloorR_001_120.amc`` (actor, class, number, frames
a second), and its actor's skeleton ``HDM_bd.asf`` in the same folder; see ``_asf`` and ``_amc``.
So a clip is a container of one: it cannot be read without the other file. Joints are the root and
the far end of each bone in the skeleton file's order, in metres in the studio's axes: y up, the
floor near zero, right-handed.

Of HDM05's many classes of cuts these are the eleven of F. Ofli, R. Chaudhry, G. Kurillo, R. Vidal,
R. Bajcsy, "Sequence of the most informative joints (SMIJ)", JVCI 2014, numbered as the folders in
which they are passed on. A clip's class is taken from its name, so the authors' own folders do too.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from zsar_bench.contracts import ClipName
from zsar_bench.errors import DataError
from zsar_datasets import _amc, _asf
from zsar_datasets._numbers import metres

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zsar_bench.contracts import RawSource

#: Class ids, from the names that the files have.
CLASSES = {
    "depositFloorR": "1",
    "elbowToKnee1RepsLelbowStart": "2",
    "grabHighR": "3",
    "hopBothLegs1hops": "4",
    "jogLeftCircle4StepsRstart": "5",
    "kickLFront1Reps": "6",
    "lieDownFloor": "7",
    "rotateArmsBothBackward1Reps": "8",
    "sneak2StepsLStart": "9",
    "squat1Reps": "10",
    "throwBasketball": "11",
}

#: The tree of every actor's skeleton in the order of the joints; a chain's first bone is known.
CHAINS = (
    "root lhipjoint lfemur ltibia lfoot ltoes",
    "root rhipjoint rfemur rtibia rfoot rtoes",
    "root lowerback upperback thorax lowerneck upperneck head",
    "thorax lclavicle lhumerus lradius lwrist lhand lfingers",
    "lwrist lthumb",
    "thorax rclavicle rhumerus rradius rwrist rhand rfingers",
    "rwrist rthumb",
)

_NAME = re.compile(r"(HDM_(bd|bk|dg|mm|tr)_([A-Za-z0-9]+)_[0-9]{3}_120)\.(?:amc|AMC)")


class Reader:
    """Reads clips of HDM05, each with its actor's skeleton (``contracts.DatasetReader``)."""

    def holds(self, name: str) -> bool:
        """Whether this file is a clip, ``.../HDM_bd_depositFloorR_001_120.amc``."""
        return _clip(name) is not None

    def open(self, name: str, source: RawSource) -> Clip:
        """That clip: its actor's skeleton is read, its motion is not.

        Raises:
            DataError: if no skeleton of this actor lies beside it, or that is none of HDM05.
        """
        clip = _clip(name)
        if clip is None:
            raise DataError("it is not named like a clip of HDM05")
        folder = name.rpartition("/")[0]
        base = f"HDM_{clip.subject}.asf"
        wanted = f"{folder}/{base}" if folder else base
        found = [other for other in source.names if other.casefold() == wanted.casefold()]
        if not found:
            raise DataError(
                f"its actor's skeleton {base} is not in the same folder",
                f"Put {base} from HDM05's page beside it.",
            )
        if source.size(found[0]) > _asf.LARGEST_FILE:
            raise DataError(f"{base} is too large to be a skeleton")
        return Clip(clip, name, source, _skeleton(source.read(found[0])))

    def identify(self, name: str) -> ClipName | None:
        """None: no file is a clip by itself."""
        return None

    def read(self, data: bytes) -> NDArray[np.float32]:
        """Refuses: angles alone have no place."""
        raise DataError("a clip of HDM05 cannot be read without its actor's skeleton")

    def aside(self, name: str) -> str:
        """Says so of clips of HDM05's other classes; empty for all other files."""
        match = _match(name)
        return "" if match is None or match[3] in CLASSES else "other motion classes of HDM05"


class Clip:
    """One clip and its actor's skeleton (``contracts.Container``)."""

    def __init__(
        self, clip: ClipName, name: str, source: RawSource, skeleton: _asf.Skeleton
    ) -> None:
        self.clips = (clip,)
        self.name = name
        self.source = source
        self.skeleton = skeleton

    def read(self, number: int) -> NDArray[np.float32]:
        """(T, 1, 31, 3) float32 in metres.

        Raises:
            DataError: for anything that is not a whole, finite motion of this skeleton.
        """
        if self.source.size(self.name) > _amc.LARGEST_FILE:
            raise DataError("it is larger than any clip")
        values = _amc.motion(self.source.read(self.name), self.skeleton)
        return metres(_amc.joints(self.skeleton, values)[:, None])


def _match(name: str) -> re.Match[str] | None:
    *folders, base = name.split("/")
    return None if "__MACOSX" in folders else _NAME.fullmatch(base)


def _clip(name: str) -> ClipName | None:
    match = _match(name)
    if match is None or match[3] not in CLASSES:
        return None
    return ClipName(match[1], CLASSES[match[3]], match[2])


@lru_cache(maxsize=8)  # five actors; the same file lies in every folder
def _skeleton(data: bytes) -> _asf.Skeleton:
    skeleton = _asf.skeleton(data)
    tree = [
        (bone.name.decode("latin-1"), skeleton.bones[bone.parent].name.decode("latin-1"))
        for bone in skeleton.bones[1:]
    ]
    if tree != list(bones().items()):
        raise DataError("its skeleton has other bones than those of HDM05")
    return skeleton


def bones() -> dict[str, str]:
    """The 30 bones in the order of their joints, which come after the root, with their parents."""
    chains = [chain.split() for chain in CHAINS]
    return {child: parent for c in chains for parent, child in pairwise(c)}
