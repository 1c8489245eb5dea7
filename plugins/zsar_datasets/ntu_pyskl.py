"""NTU RGB+D as PYSKL keeps it: ``ntu60_3danno.pkl`` and ``ntu120_3danno.pkl``, pickles.

H. Duan, J. Wang, K. Chen, D. Lin, "PYSKL: Towards good practices for skeleton action recognition",
ACM MM 2022, github.com/kennymckormick/pyskl, ``tools/data/README.md`` and ``ntu_preproc.py``:

    split         {name: [frame_dir, ...]}; not used, protocols say what trains
    annotations   [{frame_dir: "S001C001P001R001A001", label: 0-based class, total_frames: T,
                    keypoint: (bodies, T, 25, 3) float16, metres, camera frame}, ...]

float16 rounds the joints to one or two millimetres, and bodies are chosen by PYSKL's rules. The
files ``*_hrnet.pkl`` hold other joints, found in images: those are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zsar_bench.contracts import ClipName, RawSource
from zsar_bench.errors import DataError
from zsar_datasets import ntu_lists
from zsar_datasets._safe_pickle import Array, load
from zsar_datasets.ntu_packed import BODIES, HINT, ClipOf, checked
from zsar_datasets.ntu_skeleton import JOINTS, MAX_FRAMES

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAME = re.compile(r"ntu(60|120)_(3danno|3d|hrnet|2d)([-_. ].*)?\.pkl", re.IGNORECASE)


def holds(name: str) -> bool:
    """Whether a file is named like one of these, those with joints of images included."""
    *folders, base = name.split("/")
    return _NAME.fullmatch(base) is not None and "__MACOSX" not in folders


class Clips:
    """The clips of such a file (``contracts.Container``).

    The pickle is read whole: it takes seconds, and as much memory as the file is long.
    """

    def __init__(self, found: Sequence[tuple[ClipName, Array]]) -> None:
        self.clips = [clip for clip, _ in found]
        self._arrays = [array for _, array in found]

    def read(self, number: int) -> NDArray[np.float32]:
        """(T, 2, 25, 3) float32 in metres; zeros where the first or second person is not seen.

        Raises:
            DataError: if it cannot be read, or is no clip.
        """
        array = self._arrays[number]
        bodies, frames = array.shape[:2]
        if not 1 <= bodies <= BODIES:
            raise DataError(f"it has {bodies} bodies, not one or two", HINT)
        if not 1 <= frames <= MAX_FRAMES:
            raise DataError(f"it has {frames} frames, not 1 to {MAX_FRAMES}", HINT)
        clip = np.zeros((frames, BODIES, JOINTS, 3), array.dtype)
        clip[:, :bodies] = array.read().swapaxes(0, 1)
        return checked(clip)


def open_file(name: str, source: RawSource, clip_of: ClipOf) -> Clips:
    """The container of a file.

    Args:
        name: the file, in ``source``.
        clip_of: which of its samples are clips, and their names.

    Raises:
        DataError: if it is not such a pickle, or its names and labels make no sense.
    """
    with source.open(name) as file:
        content = load(file)
    return Clips(list(_clips(content, clip_of)))


def _clips(content: Any, clip_of: ClipOf) -> Iterator[tuple[ClipName, Array]]:
    annotations = content.get("annotations") if type(content) is dict else None
    if type(annotations) is not list or not annotations:
        raise DataError("it has no list 'annotations'", HINT)
    known: set[str] = set()
    for number, one in enumerate(annotations):
        where = f"its annotation {number}"
        if type(one) is not dict:
            raise DataError(f"{where} is no dict", HINT)
        sample = _sample(one, where)
        if sample.name in known:
            raise DataError(f"it holds {sample.name} twice", HINT)
        known.add(sample.name)
        array = _array(one, f"{where} ({sample.name})")
        clip = clip_of(sample)
        if clip is not None:
            yield clip, array


def _sample(annotation: dict[str, Any], where: str) -> ntu_lists.Sample:
    """The sample that an annotation names, if its label says the same."""
    name, label = annotation.get("frame_dir"), annotation.get("label")
    sample = ntu_lists.parse(name) if type(name) is str else None
    if sample is None:
        shown = f"{name[:40]!r}" if type(name) is str else "nothing"
        raise DataError(f"{where} names {shown}, which is no sample of NTU RGB+D", HINT)
    if type(label) is not int or label != sample.action - 1:
        shown = f"{label}" if type(label) is int and abs(label) < 10**9 else "no such number"
        raise DataError(
            f"{where} ({sample.name}) should have the label {sample.action - 1}, but has {shown}",
            HINT,
        )
    return sample


def _array(annotation: dict[str, Any], where: str) -> Array:
    """The joints of an annotation: (bodies, T, 25, 3) of real numbers."""
    array, frames = annotation.get("keypoint"), annotation.get("total_frames")
    if type(array) is not Array or array.dtype.kind != "f" or len(array.shape) != 4:
        raise DataError(f"{where} has no joints: 'keypoint' must be (bodies, T, 25, 3)", HINT)
    if array.shape[2:] == (17, 2) or array.shape[3] == 2:
        raise DataError(
            f"it holds {array.shape[2]} joints found in images, in pixels, not the 25 joints of "
            "NTU RGB+D's skeletons",
            "Get PYSKL's ntu60_3danno.pkl or ntu120_3danno.pkl instead of this file.",
        )
    if array.shape[2:] != (JOINTS, 3):
        raise DataError(f"{where}: 'keypoint' has the shape {array.shape}, not (.., 25, 3)", HINT)
    if frames is not None and (type(frames) is not int or frames != array.shape[1]):
        raise DataError(f"{where} has not the frames that 'total_frames' says", HINT)
    return array
