"""NTU RGB+D as CTR-GCN and its descendants keep it: ``NTU60_CS.npz``, ``NTU60_CV.npz``,
``NTU120_CSub.npz``, ``NTU120_CSet.npz``, one file an evaluation.

Y. Chen et al., "Channel-wise topology refinement graph convolution for skeleton-based action
recognition", ICCV 2021, github.com/Uason-Chen/CTR-GCN at e1eef2d5, ``data/ntu/seq_transformation``
and ``data/ntu120/seq_transformation``, which ``numpy.savez`` for the training and the test side

    x_train, x_test   (clips, 300 frames, 2 bodies x 25 joints x 3) float32, zeros after the end
    y_train, y_test   (clips, 60 or 120), a one in the column of the class

Names are not in it. They follow from the order: the pipeline keeps the list of usable samples
(``ntu_lists.samples``) and takes from it one performer after the other (cross-subject), one camera
after the other (cross-view) or one setup after the other (cross-setup), by rising number. We trust
that only if a file has exactly the official numbers of clips and every label fits its name. A file
of NTU60_CS in the list's own order, say, fails in 52,054 of its 56,578 labels, because a sample
missing here or there shifts them. Two performers of the same samples who changed places would not
be noticed.

Values are not those of the raw files: the middle of the spine in the first person's first frame is
the origin. In ``NTU120_*.npz`` a single person stands there twice (the 120 variant repeats it where
the 60 variant has zeros); here the second is left out again, for no two people are in one place.
"""

from __future__ import annotations

import re
import weakref
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import numpy as np

from zsar_bench.contracts import ClipName, RawSource
from zsar_bench.errors import DataError
from zsar_bench.rawfiles.archives import entry_start
from zsar_bench.rawfiles.npy import Header, read_header
from zsar_datasets.ntu_lists import EVALUATIONS, Sample, samples
from zsar_datasets.ntu_packed import BODIES, HINT, ClipOf, checked
from zsar_datasets.ntu_skeleton import JOINTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRAMES = 300
ROW = (FRAMES, BODIES * JOINTS * 3)
SIDES = ("train", "test")
MOST = 120_000  #: clips; NTU RGB+D 120 has 113,945
OTHERS = "Import the .skeleton files, or PYSKL's ntu60_3danno.pkl or ntu120_3danno.pkl."
_PART = 4 * 2**20  # bytes that are read at once

_NAME = re.compile(r"ntu(60|120)_(cs|cv|csub|cset)([-_. ].*)?\.npz", re.IGNORECASE)
_ORDER = {"xsub60": "performer", "xview60": "camera", "xsub120": "performer", "xset120": "setup"}


class Evaluation(NamedTuple):
    """A standard evaluation, and its samples in the order of their rows."""

    name: str
    train: Sequence[Sample]
    test: Sequence[Sample]

    @property
    def sizes(self) -> tuple[int, int]:
        return len(self.train), len(self.test)


@cache
def official(classes: int) -> tuple[Evaluation, ...]:
    """The evaluations of the edition with so many classes."""
    return tuple(_evaluation(name) for name in EVALUATIONS if name.endswith(str(classes)))


def _evaluation(name: str) -> Evaluation:
    setups, trains = EVALUATIONS[name]
    rows = sorted(samples(setups), key=lambda sample: cast(int, getattr(sample, _ORDER[name])))
    return Evaluation(name, [s for s in rows if trains(s)], [s for s in rows if not trains(s)])


def holds(name: str) -> bool:
    """Whether a file is named like one of these."""
    *folders, base = name.split("/")
    return _NAME.fullmatch(base) is not None and "__MACOSX" not in folders


class Clips:
    """The clips of such a file (``contracts.Container``); it stays open, nothing is kept of it."""

    def __init__(self, file: BinaryIO, rows: Sequence[tuple[ClipName, _Row]]) -> None:
        self.clips = [clip for clip, _ in rows]
        self._rows = [row for _, row in rows]
        self._file = file
        weakref.finalize(self, file.close)

    def read(self, number: int) -> NDArray[np.float32]:
        """(T, 2, 25, 3) float32; metres from the middle of the first person's first spine.

        Raises:
            DataError: if it cannot be read, or is no clip.
        """
        start, dtype = self._rows[number]
        size = ROW[0] * ROW[1] * dtype.itemsize
        with _reading("it"):
            self._file.seek(start)
            data = self._file.read(size)
        if len(data) != size:
            raise DataError("the file is truncated", HINT)
        clip = np.frombuffer(data, dtype).reshape(FRAMES, BODIES, JOINTS, 3)
        if np.array_equal(clip[:, 0], clip[:, 1]):
            clip = clip.copy()
            clip[:, 1] = 0
        return checked(clip)


class _Row(NamedTuple):
    """Offset in the file, and type of the values."""

    start: int
    dtype: np.dtype[Any]


def open_file(
    name: str,
    source: RawSource,
    clip_of: ClipOf,
    evaluations: Callable[[int], Sequence[Evaluation]] = official,
) -> Clips:
    """The container of a file.

    Args:
        name: the file, in ``source``.
        clip_of: which of its samples are clips, and their names.
        evaluations: number of classes -> what such files hold; tests have smaller ones.

    Raises:
        DataError: if the names of its clips cannot be told for sure.
    """
    file = source.open(name)
    try:
        return Clips(file, list(_rows(file, source.size(name), clip_of, evaluations)))
    except BaseException:
        file.close()
        raise


def _rows(
    file: BinaryIO,
    size: int,
    clip_of: ClipOf,
    evaluations: Callable[[int], Sequence[Evaluation]],
) -> Iterator[tuple[ClipName, _Row]]:
    members, labels = _members(file)
    widths = {width for width, _ in labels.values()}
    sizes = tuple(len(labels[side][1]) for side in SIDES)
    known = evaluations(widths.pop()) if len(widths) == 1 else ()
    evaluation = next((one for one in known if one.sizes == sizes), None)
    if evaluation is None:
        told = ", ".join("{} ({:,} and {:,})".format(one.name, *one.sizes) for one in known)
        raise DataError(
            f"it has {sizes[0]:,} clips to train and {sizes[1]:,} to test, which is no standard "
            f"evaluation ({told or 'its sides have different classes'}), so their names cannot be "
            "told",
            OTHERS,
        )
    for side in SIDES:
        chosen = evaluation.train if side == "train" else evaluation.test
        _compare(side, evaluation.name, labels[side][1], chosen)
        start, dtype = _values(file, size, members[f"x_{side}.npy"], len(chosen))
        step = ROW[0] * ROW[1] * dtype.itemsize
        for row, sample in enumerate(chosen):
            clip = clip_of(sample)
            if clip is not None:
                yield clip, _Row(start + row * step, dtype)


def _compare(side: str, name: str, labels: NDArray[Any], chosen: Sequence[Sample]) -> None:
    """Every label must be that of the sample in its place."""
    wrong = np.flatnonzero(labels != np.array([sample.action - 1 for sample in chosen]))
    if len(wrong):
        first = int(wrong[0])
        raise DataError(
            f"row {first} of y_{side} is of class A{labels[first] + 1}, but in CTR-GCN's order of "
            f"{name} it is {chosen[first].name} ({len(wrong):,} rows disagree), so the names of "
            "its clips cannot be told",
            OTHERS,
        )


# --- The archive -----------------------------------------------------------------------------

_Labels = tuple[int, "NDArray[np.int64]"]  # number of classes, class of each row from 0


def _members(file: BinaryIO) -> tuple[dict[str, zipfile.ZipInfo], dict[str, _Labels]]:
    """The members by name, and what ``y_train`` and ``y_test`` say."""
    with _reading("it"), zipfile.ZipFile(cast(BinaryIO, _Sparing(file))) as archive:
        listed = archive.infolist()
        members = {one.filename: one for one in listed}
        names = [f"{kind}_{side}.npy" for kind in "xy" for side in SIDES]
        if len(members) != len(listed):
            raise DataError("it holds two arrays of the same name", HINT)
        if not members.keys() >= {*names}:
            shown = ", ".join(repr(name[:40]) for name in list(members)[:6]) or "nothing"
            raise DataError(f"it holds {shown}, not x_train, y_train, x_test and y_test", HINT)
        for name in names:
            _check_packing(members[name])
        return members, {side: _labels(archive, members[f"y_{side}.npy"]) for side in SIDES}


def _check_packing(member: zipfile.ZipInfo) -> None:
    if member.flag_bits & 1:
        raise DataError("it is encrypted", "Unpack it with its password and pack it again.")
    packings = [zipfile.ZIP_STORED]
    if member.filename.startswith("y"):
        packings.append(zipfile.ZIP_DEFLATED)
    if member.compress_type not in packings:
        # To fetch one row out of a deflated member is to unpack all that stands before it.
        raise DataError(
            f"its {member.filename} is compressed, and clips cannot be fetched from the middle of "
            "that; unpack it into a folder and pack it again with: zip -0 NTU60_CS.npz *.npy",
            "unzip NTU60_CS.npz -d rows && cd rows && zip -0 ../NTU60_CS.npz *.npy",
        )


def _labels(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> _Labels:
    """Class of each row, from rows with a single one; read in parts."""
    name = member.filename
    with archive.open(member) as opened:
        about = read_header(cast(BinaryIO, opened), member.file_size, name, "biuf", "numbers")
        if (
            len(about.shape) != 2
            or about.shape[1] not in (60, 120)
            or about.shape[0] > MOST
            or about.fortran
        ):
            raise DataError(f"{name} has the shape {about.shape}, not (clips, 60 or 120)", HINT)
        width = about.shape[1] * about.dtype.itemsize
        parts: list[NDArray[np.int64]] = []
        while data := opened.read(_PART // width * width):
            rows = np.frombuffer(data, about.dtype).reshape(-1, about.shape[1])
            if not (((rows == 0) | (rows == 1)).all() and (rows.sum(axis=1) == 1).all()):
                raise DataError(f"{name} has rows that are not a single one among zeros", HINT)
            parts.append(rows.argmax(axis=1))
    return about.shape[1], np.concatenate(parts)


def _values(file: BinaryIO, size: int, member: zipfile.ZipInfo, clips: int) -> _Row:
    """Where the first row of an uncompressed member starts, and the type of its values."""
    with _reading("it"):
        start = entry_start(file, member)
        if start is None or start + member.file_size > size:
            raise DataError("it is truncated", HINT)
        file.seek(start)
        about: Header = read_header(
            file, member.file_size, member.filename, "f", "floating-point numbers"
        )
    if about.shape != (clips, *ROW) or about.dtype.itemsize > 8 or about.fortran:
        raise DataError(
            f"{member.filename} has the shape {about.shape} in {about.dtype}, not {(clips, *ROW)}",
            HINT,
        )
    return _Row(start + about.start, about.dtype)


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turns every fault of a zip archive into a ``DataError``."""
    try:
        yield
    except DataError as error:
        raise DataError(error.what.rstrip("."), error.hint or HINT) from None
    except OSError as error:
        raise DataError(f"{what} cannot be read: {error.strerror or error}", HINT) from None
    except Exception as error:  # zipfile takes the archive's word: any error of a parser may come
        why = " ".join(str(error).split())[:200]
        raise DataError(f"{what} is no sound .npz file ({why})", HINT) from None


class _Sparing:
    """A file as ``zipfile`` sees it: of no more than ``_PART`` bytes at once.

    It would read a table of contents of gigabytes, if one were there; ours has four members.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(_PART + 1 if count < 0 else min(count, _PART + 1))
        if len(data) > _PART:
            raise DataError("it has a table of contents for far more than four arrays", HINT)
        return data
