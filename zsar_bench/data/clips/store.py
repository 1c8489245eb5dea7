"""The prepared store: data sets as checksummed, memory-mapped shards by class and subject.

    <home>/data/<name>/dataset.json          what it holds, column by column
    <home>/data/<name>/seal.json             that dataset.json is as it was written
    <home>/data/<name>/shards/a3_5.npy       (frames, B, V, 3) float32, clips end to end

A shard holds the clips of one class, subject, setup and camera, so that every division of clips is
a list of files. Only an import needs plugin code, not reading the store. A generated data set may
have variants, ``<name>+<key=value,...>``.

Every process checks a shard against its checksum in ``dataset.json`` before its first use. Damaged
shards are refused: raw data cannot be made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.common import checksums
from zsar_bench.common.code_digest import file_digest
from zsar_bench.common.files import discard, home, locked, read_json
from zsar_bench.common.names import PLAIN
from zsar_bench.errors import UserError, unknown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = 2  #: of dataset.json
COLUMNS = ("id", "class", "subject", "camera", "setup", "shard", "start", "frames")
SPLITTING = ("camera", "setup")  #: columns that are empty where a data set has only one


@dataclass(frozen=True)
class Dataset:
    """A prepared data set.

    Attributes:
        folder: where it lies.
        about: the parsed ``dataset.json``.
    """

    folder: Path
    about: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.about["name"])

    @property
    def clips(self) -> dict[str, list[Any]]:
        """Columns over clips, as in ``COLUMNS``."""
        columns: dict[str, list[Any]] = self.about["clips"]
        return columns

    def __len__(self) -> int:
        return len(self.clips["id"])

    @property
    def layout(self) -> dict[str, Any]:
        """The joint layout, as the arguments of ``views.Layout``."""
        layout: dict[str, Any] = self.about["layout"]
        return layout

    @property
    def bodies(self) -> int:
        """Largest number of bodies in a clip: an axis of every shard."""
        import numpy as np

        first = next(iter(self.about["shards"]))
        self.check([first])
        return int(np.load(self.shard_path(first), mmap_mode="r", allow_pickle=False).shape[1])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that can change a result: clips, checksums, joints, classes.

        A camera or setup that no clip has is left out.
        """
        content = {k: self.about[k] for k in ("name", "clips", "shards", "layout", "classes")}
        content["clips"] = {
            name: column
            for name, column in self.clips.items()
            if name not in SPLITTING or any(column)
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all shards on disk."""
        return sum(path.stat().st_size for path in (self.folder / "shards").iterdir())

    def shard_path(self, shard: str) -> Path:
        """File of a shard."""
        return self.folder / "shards" / shard

    def check(self, shards: Iterable[str]) -> None:
        """Refuse shards that are not as the import wrote them; before a worker reads them by
        their names, too.

        Raises:
            Damaged: naming the file, and how to get it again.
        """
        for shard in shards:
            path = self.shard_path(shard)
            problem = ""
            try:
                if checksums.digest_of(path) != self.about["shards"][shard]["sha256"]:
                    problem = "it has changed since it was written"
            except OSError as error:
                problem = error.strerror or str(error)
            if problem:
                raise checksums.Damaged(f"{path} is damaged: {problem}.", _again(self.about))

    def read_clips(self, index: list[int]) -> list[NDArray[np.float32]]:
        """Clips by index, each (T, B, V, 3)."""
        clips = dict(self._stream(index))
        return [clips[i] for i in index]

    def contents(self, index: list[int]) -> list[bytes]:
        """SHA-256 of each clip's values."""
        digests = {i: hashlib.sha256(clip.tobytes()).digest() for i, clip in self._stream(index)}
        return [digests[i] for i in index]

    def _stream(self, index: Iterable[int]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Clips with their indices, shard by shard: a map holds a file open, and a large data
        set has more shards than a process may hold files."""
        import numpy as np

        shards: dict[str, list[int]] = {}
        for i in dict.fromkeys(index):
            shards.setdefault(self.clips["shard"][i], []).append(i)
        for shard, members in shards.items():
            self.check([shard])
            frames = np.load(self.shard_path(shard), mmap_mode="r", allow_pickle=False)
            for i in members:
                start = self.clips["start"][i]
                yield i, np.array(frames[start : start + self.clips["frames"][i]])

    def verify(self) -> Iterator[tuple[str, str]]:
        """Check every shard against its checksum; yields ``(shard, problem)``, '' if sound."""
        for shard, facts in self.about["shards"].items():
            path = self.shard_path(shard)
            if not path.is_file():
                yield shard, "is missing"
            else:
                yield shard, "" if file_digest(path) == facts["sha256"] else "has changed"


def data_folder() -> Path:
    """Where prepared data sets live."""
    return home() / "data"


def prepared() -> list[str]:
    """Names of the prepared data sets, including damaged ones without ``dataset.json``."""
    folder = data_folder()
    if not folder.is_dir():
        return []
    files = (*folder.glob("[!.]*/dataset.json"), *folder.glob(f"[!.]*/{checksums.SEAL}"))
    return sorted({path.parent.name for path in files})


def unfinished() -> list[str]:
    """Names of the data sets whose import was interrupted, or is going on."""
    folders = data_folder().glob(".*.import") if data_folder().is_dir() else ()
    return sorted(path.name.removeprefix(".").removesuffix(".import") for path in folders)


def unfinished_folder(name: str) -> Path:
    """Where an unfinished import keeps what it has done."""
    return data_folder() / f".{name}.import"


def open_dataset(name: str, how_to_get: str = "") -> Dataset:
    """A prepared data set.

    Raises:
        UserError: if it has not been imported (says how), or its store is damaged.
    """
    folder = data_folder() / name
    if name not in prepared():
        raise UserError(
            f"The data set '{name}' has not been imported. {how_to_get}".strip(),
            f"Then type: zsar-bench data import {name} PATH",
        )
    again = f"Type: zsar-bench data import {name} PATH --force"
    checksums.check(folder, hint=again, added=False)
    content = read_json(folder / "dataset.json")
    if (
        not isinstance(content, dict)
        or content.get("format") != FORMAT
        or set(content.get("clips", {})) != set(COLUMNS)
    ):
        raise UserError(f"{folder} was written by another version of zsar-bench.", again)
    return Dataset(folder, content)


def remove(name: str) -> None:
    """Delete a prepared data set; also complete if killed half-way."""
    if name not in prepared():
        raise unknown("prepared data set", name, prepared(), "zsar-bench data list")
    discard(data_folder() / name)


def _again(content: dict[str, Any]) -> str:
    """What to type for a data set that is damaged."""
    if content.get("stand_in_for") or content.get("parts"):
        return "It is generated: type the same command again, and it is made anew."
    return f"Type: zsar-bench data import {content['name']} PATH --force"


def forget(name: str) -> None:
    """Delete what an interrupted import of this data set has left.

    Raises:
        UserError: if the import is going on.
    """

    def refuse() -> None:
        raise UserError(f"'{name}' is being imported right now.", "Stop that first.")

    folder = unfinished_folder(name)
    with locked(folder, refuse):
        discard(folder)


def shard_name(class_id: str, subject: str, setup: str = "", camera: str = "") -> str:
    """File name of the shard of one class, subject, setup and camera: ``A1_3_s2_c1.npy``.

    Where subjects are not known, ``-`` stands for all of them.
    """
    parts = [_safe(class_id), _safe(subject or "-")]
    parts += [f"s{_safe(setup)}"] if setup else []
    parts += [f"c{_safe(camera)}"] if camera else []
    return f"{'_'.join(parts)}.npy"


def _safe(text: str) -> str:
    """Names from raw files become file names only in this form."""
    if not PLAIN.fullmatch(text):
        raise UserError(f"The name {text!r} of a class, subject, setup or camera is not plain.")
    return text


def by_shard(dataset: Dataset, index: Iterable[int]) -> dict[str, list[int]]:
    """Clip indices grouped by shard, in the store's order."""
    groups: dict[str, list[int]] = {}
    for i in sorted(index):
        groups.setdefault(dataset.clips["shard"][i], []).append(i)
    return groups


def shard_file(folder: Path, shard: str) -> Path:
    """Feature file of a shard."""
    return folder / f"{Path(shard).stem}.safetensors"


def clip_bundle(
    dataset: Dataset, index: list[int], seen: Sequence[str], raw: bool = True
) -> list[dict[str, Any]]:
    """The shards of these clips with their labels; a training worker may open no others.

    Args:
        dataset, index: the clips of whole shards.
        seen: official ids of the seen classes, in label order.
        raw: whether to include the raw files, which are checked then.

    Raises:
        Damaged: naming a raw file that is not as it was imported.
    """
    label = {class_id: n for n, class_id in enumerate(seen)}
    subjects = {s: n for n, s in enumerate(sorted({dataset.clips["subject"][i] for i in index}))}
    whole = by_shard(dataset, range(len(dataset)))
    bundle = []
    for shard, rows in by_shard(dataset, index).items():
        if rows != whole[shard]:
            raise AssertionError(f"shard {shard} is used in part: it would show clips not in view")
        bundle.append(
            {
                "label": label[dataset.clips["class"][rows[0]]],
                "subject": subjects[dataset.clips["subject"][rows[0]]],
                "lengths": [dataset.clips["frames"][i] for i in rows],
            }
        )
        if raw:
            dataset.check([shard])
            bundle[-1]["file"] = str(dataset.shard_path(shard))
    return bundle


def flat_clips(dataset: Dataset, index: list[int]) -> dict[str, NDArray[Any]]:
    """Clips as they travel through the pipe: frames end to end, and lengths."""
    import numpy as np

    clips = dataset.read_clips(index)
    lengths = np.array([len(c) for c in clips], dtype=np.int64)
    return {"flat": np.concatenate(clips), "lengths": lengths}
