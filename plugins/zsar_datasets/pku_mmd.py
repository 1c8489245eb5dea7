"""PKU-MMD I and II: recordings of many actions each, Kinect v2, 25 joints, two bodies, three views.

C. Liu, Y. Hu, Y. Li, S. Song, J. Liu, "PKU-MMD: A large scale benchmark for continuous multi-modal
human action understanding", ACM Multimedia workshop 2017. Nothing here was checked against a whole
copy of the data set: the layout is that of its readme, of one public recording (``A10N08-L.txt``)
and of the scripts that others read it with.

A recording is two text files of one name in different folders: ``0002-L.txt`` in part I,
``A01N01-L.txt`` in part II; L, M and R are the views. The skeleton file has a line a frame with 150
numbers, x y z in metres of 25 joints of two bodies, zeros for who is not there. The label file has
a line an action: its class, first frame, last frame and a confidence, which some lines of part II
lack. A file is taken for labels if the folder it is in, or the nearest above that names either,
says "label"; else for skeletons.

A clip is one labelled interval. Its name is what the scripts give it that STAR and its descendants
run (``pku_part1_skeleton.py``, read in a public copy): ``F002V001C023L004`` is recording 2, view 1
(L), class 23, line 4 of its labels; in part II ``A001N001V001C023L004``. As those scripts do,
frames count from 1 and the last one belongs to the clip. Others count from 0 (the authors have not
said; issue 11 of ECHO960/PKU-MMD asks), which shifts a clip by one frame. An interval that starts
with frame 0 starts with the first frame here; one that runs beyond the recording is cut there, and
so do the scripts. What ends before it starts, starts beyond the recording or shows nobody cannot be
read (the field leaves out a few such by a list); ``--skip-bad`` leaves them out.

Who is the main actor: the field (``read_xyz`` of ST-GCN and 2s-AGCN, kept in
``pku_part1_gendata.py``) puts that body first whose x, y and z spread more over the frames in which
it is seen, each spread a standard deviation over frames and joints, and rejects no body as noise;
the same is done here. Frames in which nobody is seen are taken out, as this project's reader of
NTU RGB+D does; the field keeps them and fills them later.

A clip's camera is its view. Its setup is ``train`` or ``test`` by the authors' list of recordings
(``Split/cross-subject.txt``, ``cross_subject_v2.txt`` in part II: a line ``Training videos:``, a
line of names between commas, then the same for ``Validataion videos:``, misspelt), or empty without
that file. The release of part I does not name performers, so subjects are empty and there are no
intervals over performers. In part II the number behind N is taken for the performer: it runs from 1
to 13, and there are 13 performers; two public pipelines read it so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from zsar_bench.contracts import ClipName
from zsar_bench.errors import DataError
from zsar_datasets.pku_mmd_files import (
    HINT,
    PARTS,
    Interval,
    index,
    is_label,
    is_list,
    parse_joints,
    parse_rows,
    parse_sides,
    read_lines,
    small,
    stem_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zsar_bench.contracts import RawSource

LARGEST = 64 * 2**20  # bytes of a recording; four minutes are about 10 million
MAX_FRAMES = 5000  # of a clip; the longest real one has some 800
INTERACTIONS = frozenset({12, 14, 16, 18, 21, 24, 26, 27, 29, 38})  # only part I has them

_VIEWS = {"L": 1, "M": 2, "R": 3}


class Reader:
    """Reads clips of PKU-MMD I (``zsar_bench.contracts.DatasetReader``)."""

    part, other = "I", "pku-mmd-ii"
    actions = frozenset(range(1, 52))
    recordings = 1076

    def __init__(self) -> None:
        self._sided: set[str] = set()  # recordings that the authors' list names

    def holds(self, name: str) -> bool:
        """Whether this is a skeleton file of this part."""
        stem = stem_of(name)
        return bool(PARTS[self.part].fullmatch(stem)) and not is_label(name)

    def identify(self, name: str) -> ClipName | None:
        """None: no file is a clip by itself."""
        return None

    def read(self, data: bytes) -> NDArray[np.float32]:
        """Refuses: a recording without its labels has no clips.

        Raises:
            DataError: always.
        """
        raise DataError("clips of PKU-MMD are cut out of recordings; this is no recording", HINT)

    def open(self, name: str, source: RawSource) -> Recording:
        """The labelled intervals of a recording.

        Raises:
            DataError: if it is too large, its label file is missing or faulty, or the authors' list
                of sides is.
        """
        if source.size(name) > LARGEST:
            raise DataError(f"it is larger than {LARGEST >> 20} MiB, more than any recording")
        stem = stem_of(name)
        labels, lists = index(tuple(source.names))
        found = labels.get(stem, ())
        if len(found) != 1:
            raise DataError(
                f"there are {len(found)} label files {stem}.txt for it",
                "Put the folders with skeletons and with labels (their names must say so) into "
                "one folder, and give that.",
            )
        rows = parse_rows(small(source, found[0]), found[0], self.actions)
        sides: dict[str, str] = {}
        for one in lists:
            for recording, side in parse_sides(small(source, one), one).items():
                if sides.setdefault(recording, side) != side:
                    raise DataError(f"{' and '.join(lists)} disagree about {recording}", HINT)
        side = sides.get(stem, "")
        prefix, view, subject = self._named(stem)
        if side:
            self._sided.add(prefix)
        clips = [
            ClipName(f"{prefix}C{row.action:03}L{n:03}", str(row.action), subject, view, side)
            for n, row in enumerate(rows, 1)
        ]
        return Recording(name, source, clips, rows)

    def _named(self, stem: str) -> tuple[str, str, str]:
        """How names of its clips begin, its view and its performer."""
        number, view = stem.split("-")
        return f"F{number[1:]}V{_VIEWS[view]:03}", view, ""

    def aside(self, name: str) -> str:
        """Says so of label files without a recording, lists and files of the other part."""
        stem = stem_of(name)
        if PARTS[self.part].fullmatch(stem):
            return "label files without their skeleton file"
        if any(part.fullmatch(stem) for part in PARTS.values()):
            return f"files of the other part of PKU-MMD (data import {self.other})"
        if is_list(name):
            return "lists of sides that no recording here needs"
        return ""

    def coverage(self, ids: Sequence[str]) -> list[str]:
        """What these clips lack to the whole part, and what cannot be run without it."""
        found = {clip.partition("C")[0] for clip in ids}
        lines = []
        if len(found) < self.recordings:
            lines.append(f"Recordings: {len(found)} of {self.recordings:,}.")
        views = {int(prefix[-1]) for prefix in found}
        absent = [view for view, number in _VIEWS.items() if number not in views]
        if absent:
            lines.append(
                f"Views that are missing: {', '.join(absent)}. Cross-view protocols need all."
            )
        without = sorted(found - self._sided)
        if without and len(without) == len(found):
            lines.append(
                "The authors' list of sides (Split/cross-subject.txt, cross_subject_v2.txt in "
                "part II) is missing: cross-subject protocols cannot be run."
            )
        elif without:
            lines.append(
                f"The authors' list of sides does not name {len(without)} recordings, "
                f"such as {without[0]}: cross-subject protocols leave them out."
            )
        return lines


class ReaderII(Reader):
    """Reads clips of PKU-MMD II, which has no interactions: 41 of the 51 classes.

    Which 41 was taken from a public script that numbers them (HanchaoLiu/Recover-and-Resample);
    they are those that are no interactions in the authors' count of 41 and 10.
    """

    part, other = "II", "pku-mmd"
    actions = Reader.actions - INTERACTIONS
    recordings = 1009

    def _named(self, stem: str) -> tuple[str, str, str]:
        number, view = stem.split("-")
        take, performer = int(number[1:3]), int(number[4:])
        return f"A{take:03}N{performer:03}V{_VIEWS[view]:03}", view, str(performer)


class Recording:
    """One skeleton file and its labels (``zsar_bench.contracts.Container``)."""

    def __init__(
        self, name: str, source: RawSource, clips: Sequence[ClipName], rows: Sequence[Interval]
    ) -> None:
        self.clips = clips
        self._name, self._source, self._rows = name, source, rows

    def read(self, number: int) -> NDArray[np.float32]:
        """(T, 2, 25, 3) float32 in metres; zeros where the first or second person is not seen.

        Raises:
            DataError: for an interval without frames or people, and for a damaged file.
        """
        row, label = self._rows[number], self.clips[number].id
        first, last = max(1, row.first), row.last
        if last < first:
            raise DataError(f"{label} ends (frame {row.last}) before it starts (frame {row.first})")
        if last - first >= MAX_FRAMES:
            raise DataError(f"{label} has {last - first + 1} frames, more than any real clip")
        with self._source.open(self._name) as file:
            lines = read_lines(file, first, last)
        if not lines:
            raise DataError(f"{label} starts with frame {first}, beyond the end of the recording")
        bodies = parse_joints(lines, first)
        bodies = bodies[bodies.any(axis=(1, 2, 3))]
        if not len(bodies):
            raise DataError(f"nobody is in {label} (frames {first} to {last})")
        return bodies[:, main_actor_first(bodies)].astype(np.float32)


def main_actor_first(bodies: NDArray[np.float64]) -> list[int]:
    """The order of bodies (T, 2, V, 3) by falling spread: the standard deviations of x, y and z
    over all joints in all frames in which a body is seen, added. Ties keep their order."""
    spreads = []
    for body in bodies.transpose(1, 0, 2, 3):
        seen = body[body.any(axis=(1, 2))]
        spreads.append(float(seen.std(axis=(0, 1)).sum()) if len(seen) else 0.0)
    return sorted(range(len(spreads)), key=lambda i: -spreads[i])
