"""Folders of released features in the field's usual layout: read and checked.

    train.npy  (N, C)   train_label.npy  (N,)   seen classes, training side
    ztest.npy  (N, C)   z_label.npy      (N,)   unseen classes, test side
    gtest.npy  (N, C)   g_label.npy      (N,)   all classes, test side; may be missing
    label_splits/ru5.npy, rs55.npy              the unseen and the seen labels; may be missing

Labels are 0-based places in the data set's official class list. A folder is untrusted input: a
file's header is checked against its size before anything is read, pickles are refused, and labels
and label lists must agree with the protocol's split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from zsar_bench.errors import DataError, UserError
from zsar_bench.rawfiles.npy import read_header

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zsar_bench.data.protocols.protocol import Protocol

#: Part -> its two files; those of ``OPTIONAL`` may be missing.
FILES = {
    "train": ("train.npy", "train_label.npy"),
    "ztest": ("ztest.npy", "z_label.npy"),
    "gtest": ("gtest.npy", "g_label.npy"),
}
OPTIONAL = "gtest"
SPLITS = "label_splits"
OURS = ("features.json", "README.txt")  #: what an export of ours adds


@dataclass(frozen=True)
class Part:
    """Clips of one part: ``features`` (N, C) float32, finite, and ``labels`` (N,) int64."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class FeatureFolder:
    """A folder that was read and checked against a protocol.

    Attributes:
        path: the folder.
        parts: ``train``, ``ztest`` and, if it is there, ``gtest``.
        ignored: names of the files that were not read.
    """

    path: Path
    parts: dict[str, Part] = field(repr=False, compare=False)
    ignored: tuple[str, ...]

    @property
    def channels(self) -> int:
        return int(self.parts["train"].features.shape[1])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of every part's values in float32 and its labels, in the files' order."""
        import numpy as np

        total = hashlib.sha256()
        for name in sorted(self.parts):
            part = self.parts[name]
            total.update(f"{name} {part.features.shape}\n".encode())
            total.update(np.ascontiguousarray(part.features, dtype="<f4").data)
            total.update(np.ascontiguousarray(part.labels, dtype="<i8").data)
        return total.hexdigest()


def round_folders(path: Path, protocol: Protocol) -> list[Path]:
    """The feature folders at ``path``: itself, or its subfolders, one a round, by name.

    Raises:
        UserError: if there are none, or not one for every group of the protocol's subjects.
    """
    if path.is_file():
        raise UserError(f"{path} is a file.", "Give the folder that holds train.npy and ztest.npy.")
    if not path.is_dir():
        raise UserError(f"There is no folder {path}.")
    below = sorted(p for p in path.iterdir() if p.is_dir() and (p / "train.npy").is_file())
    if any((path / name).is_file() for pair in FILES.values() for name in pair) or not below:
        return [path]
    if len(below) != len(protocol.groups):
        raise UserError(
            f"{path} holds {len(below)} feature folders ({', '.join(p.name for p in below)}), "
            f"but the protocol '{protocol.id}' has {max(1, len(protocol.groups))} rounds.",
            f"Name the one you mean: --features {below[0]}",
        )
    return below


def read_folder(path: Path, protocol: Protocol) -> FeatureFolder:
    """Read a folder and check it against a protocol.

    Raises:
        UserError: for files that are missing, and for another split than the protocol's.
        DataError: for a file whose content does not match its name.
    """
    given = {p.name for p in path.iterdir() if p.is_file()}
    wanted = {part: files for part, files in FILES.items() if _needed(part, given)}
    missing = [name for files in wanted.values() for name in files if name not in given]
    if missing:
        raise UserError(
            f"{path} lacks {', '.join(missing)}.",
            "A feature folder holds train.npy, train_label.npy, ztest.npy and z_label.npy.",
        )
    _check_lists(path / SPLITS, protocol)
    parts = {part: _read_part(path, part, protocol) for part in wanted}
    widths = {part: arrays.features.shape[1] for part, arrays in parts.items()}
    if len(set(widths.values())) > 1:
        described = ", ".join(f"{FILES[part][0]} {width}" for part, width in widths.items())
        raise DataError(f"{path}: the features have different numbers of channels: {described}.")
    read = {name for files in wanted.values() for name in files} | {*OURS}
    return FeatureFolder(path, parts, tuple(sorted(given - read)))


def _needed(part: str, given: set[str]) -> bool:
    return part != OPTIONAL or any(name in given for name in FILES[part])


def _read_part(path: Path, part: str, protocol: Protocol) -> Part:
    import numpy as np

    features_file, labels_file = (path / name for name in FILES[part])
    features = read_array(features_file, "f", "floating-point numbers")
    labels = read_labels(labels_file)
    if features.ndim < 2 or set(features.shape[2:]) - {1}:
        raise DataError(
            f"{features_file} has the shape {features.shape}, not (clips, channels).",
            "Features before pooling must be averaged over their tokens first.",
        )
    features = features.reshape(features.shape[:2])
    if len(features) != len(labels):
        raise DataError(
            f"{features_file} has {len(features)} rows, but {labels_file.name} {len(labels)}."
        )
    # The next lines find what float32 cannot hold, and NaNs.
    with np.errstate(over="ignore", invalid="ignore"):
        features = features.astype(np.float32, copy=False)
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise DataError(
            f"{features_file}: {len(bad)} rows hold NaN, infinity or what float32 cannot hold; "
            f"the first is row {bad[0]}."
        )
    _check_labels(labels, part, labels_file, protocol)
    return Part(features, labels)


def read_array(path: Path, kinds: str, what: str) -> NDArray[Any]:
    """A ``.npy`` file, memory-mapped after a check of its header against the file's size.

    Args:
        path: the file.
        kinds: numpy's letters of the allowed kinds of numbers; ``what`` names them.

    Raises:
        DataError: if it is no such file, is cut, is empty or holds other values.
    """
    import numpy as np

    try:
        with path.open("rb") as file:
            header = read_header(file, path.stat().st_size, str(path), kinds, what)
        order: Literal["F", "C"] = "F" if header.fortran else "C"
        # numpy.load would parse the header again, and warn of those that Python 2 wrote.
        return np.memmap(path, header.dtype, "r", header.start, header.shape, order)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from None


def read_labels(path: Path) -> NDArray[np.int64]:
    """A row of whole numbers.

    Raises:
        DataError: for anything else.
    """
    import numpy as np

    labels = read_array(path, "iu", "whole numbers")
    if labels.ndim < 1 or set(labels.shape[1:]) - {1}:
        raise DataError(f"{path} has the shape {labels.shape}, not (clips,).")
    return np.array(labels.reshape(-1), dtype=np.int64)


def _check_labels(labels: NDArray[np.int64], part: str, file: Path, protocol: Protocol) -> None:
    """Labels lie in the part's classes; train has every seen class."""
    present = {int(label) for label in labels}
    count = len(protocol.classes)
    outside = sorted(n for n in present if not 0 <= n < count)
    if outside:
        shifted = min(present) >= 1 and max(present) == count
        raise UserError(
            f"{file}: label {outside[0]} is none of the {count} classes of {protocol.dataset} "
            f"(0 to {count - 1}).",
            "They seem to count from 1: subtract 1 from every label." if shifted else "",
        )
    allowed = {"train": protocol.seen, "ztest": protocol.unseen}.get(part)
    if allowed is None:
        return
    kind, opposite = ("seen", "unseen") if part == "train" else ("unseen", "seen")
    wrong = present - _places(allowed, protocol)
    if wrong:
        raise UserError(
            f"{file}: {_named(wrong, protocol)}: {opposite} in the protocol '{protocol.id}', "
            f"but this file is of its {kind} classes.",
            "These features are of another split. See: zsar-bench list protocols",
        )
    if part == "train" and (lacking := _places(allowed, protocol) - present):
        raise UserError(
            f"{file}: there are no clips of {_named(lacking, protocol)}, "
            f"seen in the protocol '{protocol.id}'.",
            "These features are of another split. See: zsar-bench list protocols",
        )


def _check_lists(folder: Path, protocol: Protocol) -> None:
    """The label lists of this protocol's numbers of classes, if the folder has any lists."""
    if not folder.is_dir():
        return
    lists: dict[str, set[int]] = {}
    for prefix, ids in (("ru", protocol.unseen), ("rs", protocol.seen)):
        file = folder / f"{prefix}{len(ids)}.npy"
        if not file.is_file():
            present = ", ".join(sorted(p.name for p in folder.glob("*.npy"))) or "nothing"
            raise UserError(
                f"{folder} has no {file.name}, which the protocol '{protocol.id}' needs "
                f"({len(protocol.unseen)} unseen, {len(protocol.seen)} seen); it has {present}.",
                f"If these lists are not of these features, remove the folder {SPLITS}.",
            )
        labels = read_labels(file)
        lists[prefix] = {int(n) for n in labels}
        if len(labels) != len(ids) or len(lists[prefix]) != len(ids):
            raise UserError(
                f"{file} should list {len(ids)} classes, but holds {len(labels)} labels, "
                f"{len(lists[prefix])} of them different."
            )
    both = lists["ru"] & lists["rs"]
    if both:
        raise UserError(f"{folder}: {_named(both, protocol)} is in both lists, ru and rs.")
    wrong = lists["ru"] ^ _places(protocol.unseen, protocol)
    wrong |= lists["rs"] ^ _places(protocol.seen, protocol)
    if wrong:
        raise UserError(
            f"{folder} lists other classes as seen and unseen than the protocol "
            f"'{protocol.id}': they disagree on {_named(wrong, protocol)}.",
            "These features are of another split. See: zsar-bench list protocols",
        )


def _places(ids: Iterable[str], protocol: Protocol) -> set[int]:
    """Labels of official class ids."""
    return {protocol.place[i] for i in ids}


def _named(labels: Iterable[int], protocol: Protocol) -> str:
    """Labels with their official ids, at most five."""
    some, count = sorted(labels), len(protocol.classes)
    names = [f"{n} ({protocol.classes[n].id})" if 0 <= n < count else str(n) for n in some[:5]]
    more = f" and {len(some) - 5} more" if len(some) > 5 else ""
    return f"label{'s' if len(some) > 1 else ''} {', '.join(names)}{more}"
