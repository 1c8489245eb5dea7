"""What the packed forms of NTU RGB+D have in common: ``ntu_npz`` and ``ntu_pyskl``.

Somebody else's preprocessing made them from the raw files: it chose the bodies (by nearly the same
rules as ``ntu.choose_bodies``), moved the origin or rounded the values. So clips and features from
such a file are not those from raw files, down to the last bit, and the data set's digest, which
every result carries, differs by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from zsar_bench.contracts import ClipName
from zsar_bench.errors import DataError
from zsar_datasets.ntu_lists import Sample
from zsar_datasets.ntu_skeleton import FARTHEST, JOINTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

BODIES = 2
HINT = "Get this file again, or import the .skeleton files."

#: The clip of a sample; None if it is none of this edition, or none that its authors count.
ClipOf = Callable[[Sample], ClipName | None]


def checked(clip: NDArray[Any]) -> NDArray[np.float32]:
    """The clip (T, 2, 25, 3) in float32, without the frames in which nobody is.

    Raises:
        DataError: if it is empty, not finite, or farther away than a camera sees.
    """
    assert clip.shape[1:] == (BODIES, JOINTS, 3)
    farthest = np.abs(clip).max(initial=0)
    if not np.isfinite(farthest):
        raise DataError("it holds joints that are not finite (NaN or infinite)", HINT)
    if farthest > FARTHEST:
        raise DataError(f"a joint is {farthest:.3g} m away; are these metres?", HINT)
    clip = clip[clip.any(axis=(1, 2, 3))]
    if not len(clip):
        raise DataError("nobody is in it", HINT)
    return np.ascontiguousarray(clip, np.float32)
