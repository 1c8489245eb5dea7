"""Kinetics-skeleton 400 and 200: one JSON file a clip, 18 joints found by OpenPose, in the image.

S. Yan, Y. Xiong, D. Lin, "Spatial temporal graph convolutional networks for skeleton-based action
recognition" (ST-GCN), AAAI 2018; the clips are those of W. Kay et al., "The Kinetics human action
video dataset", 2017. Nothing here was checked against a whole copy: the layout is that of ST-GCN's
feeder (``feeder_kinetics.py``, open-mmlab/mmskeleton, once yysijie/st-gcn) and of files quoted from
the release.

``kinetics_train/<YouTube id>.json`` and the like in ``kinetics_val`` hold ``data``, a list of
frames with ``frame_index`` and ``skeleton``, a list of people with ``pose`` (x y of 18 joints, 0 to
1 from the image's upper left corner) and ``score`` (of 18 joints, 0 where one was not found); then
``label`` and ``label_index``, which is the class.

A clip here is what ST-GCN makes of it: of the first five people in a frame the two with the largest
sum of scores, x - 0.5 and 0.5 - y so that y points up, zeros for joints that were not found. Who is
first may change from frame to frame, as it does there. z is zero, and the units are image widths
and heights, not metres. Frames stand where ``frame_index`` says. It counts from 1 in the release
(mmskeleton issue 149); in files that count from 0, as mmskeleton's own tools write them, from 0.
ST-GCN leaves the place of frame 0 empty and fills every clip up to 300 frames; a clip ends with its
last listed frame here.

A file in which nobody was found is no clip; the field leaves these out too. They are counted.

Kinetics-skeleton 200 is PURLS' choice of 200 classes under numbers of their own. Which ones was not
published, so its reader takes files whose ``label_index`` runs from 0 to 199 and refuses others:
they are clips of the 400. Neither data set has class names or texts here: running needs --texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zsar_bench.contracts import ClipName
from zsar_bench.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zsar_bench.contracts import RawSource

JOINTS, BODIES = 18, 2
OBSERVED = 5  # people of a frame, the first ones
MAX_FRAMES = 300
LARGEST = 8 * 2**20  # bytes; real files have some 200,000
LOW, HIGH = -1.0, 2.0  # of a coordinate; inside the image it is 0 to 1

_CLIP = re.compile(r"[A-Za-z0-9_-]{11}\.json")
_LABEL = re.compile(rb'"label_index"\s*:\s*(\d{1,4})\s*[,}]')
_SIDES = {"kinetics_train": "train", "kinetics_val": "val", "train": "train", "val": "val"}
_HINT = "Get this file again, or leave it out."


class Reader:
    """Reads clips of Kinetics-skeleton 400 (``zsar_bench.contracts.DatasetReader``)."""

    classes = 400

    def __init__(self) -> None:
        self._empty: set[str] = set()  # files in which nobody was found
        self._sides: set[str] = set()

    def holds(self, name: str) -> bool:
        """Whether this is a clip such as ``.../kinetics_val/-0AbCdEfGhI.json``."""
        *folders, base = name.split("/")
        return bool(_CLIP.fullmatch(base)) and bool(_side(folders)) and "__MACOSX" not in folders

    def identify(self, name: str) -> ClipName | None:
        """None: a file's name does not tell its class."""
        return None

    def open(self, name: str, source: RawSource) -> File:
        """The clip of a file; none if nobody was found in it.

        Raises:
            DataError: if it is too large, or does not say its class in the way of the release.
        """
        if source.size(name) > LARGEST:
            raise DataError(f"it is larger than {LARGEST >> 20} MiB, more than any clip", _HINT)
        data = source.read(name)
        found = _LABEL.findall(data)
        if len(found) != 1:
            raise DataError(f"it says {len(found)} times what its 'label_index' is", _HINT)
        label = int(found[0])
        if label >= self.classes:
            raise DataError(
                f"its label_index is {label}, but the classes are 0 to {self.classes - 1}", _HINT
            )
        *folders, base = name.split("/")
        side = _side(folders)
        self._sides.add(side)
        if b'"pose"' not in data:
            self._empty.add(name)
            return File([], data)
        return File([ClipName(base.removesuffix(".json"), str(label), "", setup=side)], data)

    def read(self, data: bytes) -> NDArray[np.float32]:
        """(T, 2, 18, 3) float32 in image widths and heights; see above.

        Raises:
            DataError: for anything that is not a whole clip with somebody in it.
        """
        return parse(data)

    def aside(self, name: str) -> str:
        """Says so of the release's lists of labels."""
        if re.fullmatch(r"kinetics_(train|val)_label\.json", name.rpartition("/")[2]):
            return "lists of labels: every clip's own file says its class"
        return ""

    def coverage(self, ids: Sequence[str]) -> list[str]:
        """Which half is missing, and how many files show nobody."""
        lines = [
            f"There is no clip of kinetics_{side}: protocols {use}."
            for side, use in (("train", "learn from it"), ("val", "are tested on it"))
            if side not in self._sides
        ]
        if self._empty:
            lines.append(f"Files that are no clips, as nobody was found: {len(self._empty)}.")
        return lines


class Reader200(Reader):
    """Reads clips of Kinetics-skeleton 200, whose classes have numbers of their own."""

    classes = 200


class File:
    """One file (``zsar_bench.contracts.Container``)."""

    def __init__(self, clips: Sequence[ClipName], data: bytes) -> None:
        self.clips = clips
        self._data = data

    def read(self, number: int) -> NDArray[np.float32]:
        """Its clip, whose class must be what the listing said."""
        return parse(self._data, int(self.clips[number].class_id))


def _side(folders: Sequence[str]) -> str:
    return _SIDES.get(folders[-1].lower(), "") if folders else ""


# --- The file --------------------------------------------------------------------------------


def parse(data: bytes, label: int | None = None) -> NDArray[np.float32]:
    """A clip from its file: (T, 2, 18, 3) float32.

    Args:
        data: the whole file.
        label: what its ``label_index`` must be.

    Raises:
        DataError: for anything that is not a whole clip with somebody in it.
    """
    if len(data) > LARGEST:
        raise DataError(f"it is larger than {LARGEST >> 20} MiB, more than any clip", _HINT)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise DataError("it is not valid JSON, perhaps truncated", _HINT) from None
    frames = content.get("data") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not 0 < len(frames) <= MAX_FRAMES + 1:
        raise DataError(f"'data' is not a list of up to {MAX_FRAMES} frames", _HINT)
    if label is not None and content.get("label_index") != label:
        raise DataError("its label_index stands in the wrong place", _HINT)
    people = {}
    for n, frame in enumerate(frames):
        index = frame.get("frame_index") if isinstance(frame, dict) else None
        if type(index) is not int or not 0 <= index <= MAX_FRAMES or index in people:
            raise DataError(f"entry {n} of 'data' has no frame_index of its own", _HINT)
        people[index] = _people(frame, index)
    first = 0 if 0 in people else 1
    clip = np.zeros((max(people) - first + 1, BODIES, JOINTS, 3), np.float32)
    if len(clip) > MAX_FRAMES:
        raise DataError(f"it has {len(clip)} frames, more than any clip", _HINT)
    for index, bodies in people.items():
        clip[index - first, : len(bodies), :, :2] = bodies
    if not clip.any():
        raise DataError("nobody is in it", _HINT)
    return clip


def _people(frame: dict[str, Any], index: int) -> NDArray[np.float64]:
    """(up to 2, 18, 2) places in the image of the two best people of a frame."""
    listed = frame.get("skeleton")
    if not isinstance(listed, list):
        raise DataError(f"frame {index} has no list 'skeleton'", _HINT)
    poses, scores = [], []
    for person in listed[:OBSERVED]:
        poses.append(_numbers(person, "pose", 2 * JOINTS, index))
        scores.append(_numbers(person, "score", JOINTS, index))
    if not poses:
        return np.zeros((0, JOINTS, 2))
    places, found = np.array(poses).reshape(-1, JOINTS, 2), np.array(scores)
    if not (places >= LOW).all() or not (places <= HIGH).all() or not (found >= 0).all():
        raise DataError(f"frame {index} holds places far outside the image, or no numbers", _HINT)
    places = np.stack([places[..., 0] - 0.5, 0.5 - places[..., 1]], axis=-1)
    places[found == 0] = 0
    best = np.argsort(-found.sum(axis=1), kind="stable")[:BODIES]
    return places[best]


def _numbers(person: Any, key: str, count: int, index: int) -> list[float]:
    values = person.get(key) if isinstance(person, dict) else None
    if not isinstance(values, list) or len(values) != count:
        raise DataError(f"frame {index}: '{key}' is not a list of {count} numbers", _HINT)
    if not {type(value) for value in values} <= {int, float}:
        raise DataError(f"frame {index}: '{key}' is not a list of {count} numbers", _HINT)
    try:
        return [float(value) for value in values]
    except OverflowError:
        raise DataError(f"frame {index}: '{key}' holds a number beyond all bounds", _HINT) from None
