"""A worker's part of an import: a listing of raw files or of a generator's clips, and shards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple

from zsar_bench.common.classes import read_classes, read_toml
from zsar_bench.common.code_digest import file_digest
from zsar_bench.common.hashing import digest
from zsar_bench.data.clips.store import shard_name
from zsar_bench.errors import DataError, UserError
from zsar_bench.rawfiles.archives import RawFiles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zsar_bench.contracts import ClipName, Container, DatasetGenerator, DatasetReader

    Clip = NDArray[np.float32]

PACKED = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz")
OTHER = "no clip"  #: why an unknown file is not read
FIRST = 3  #: names kept of files that are only counted
GREEDY = "reading it takes more memory than this import may use (--memory-limit)"
OPEN = 32  #: containers that a worker keeps open: a shard's clips lie in several


class Listed(NamedTuple):
    """One listed clip: the facts in its name, its shard, and its file.

    ``source`` is the number of the folder or archive, ``label`` the file's name in messages,
    ``stamp`` changes with its content; all empty or 0 for a generated clip. ``part`` is the
    clip's number in a container, -1 where the file is the clip.
    """

    id: str
    class_id: str
    subject: str
    camera: str
    setup: str
    shard: str
    source: int = 0
    name: str = ""
    label: str = ""
    size: int = 0
    stamp: int = 0
    part: int = -1


class Note:
    """Writes down the file that is being read, for errors of a killed worker."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)

    def __call__(self, label: str) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._file.write(label.encode("utf-8", "replace"))


def _unnoted(label: str) -> None:
    """No note."""


# --- What there is -----------------------------------------------------------------------------


def list_files(
    reader: DatasetReader,
    spec: dict[str, Any],
    sources: Sequence[Path],
    note: Callable[[str], None] = _unnoted,
) -> dict[str, Any]:
    """List raw files by their names only; ``note`` gets each container.

    Returns:
        ``clips``: a ``Listed`` each, in the store's order; ``skipped``: files that are no clips
        although they are named like some, with reasons; ``bad``: containers that cannot be
        listed, with reasons; ``aside``: reason -> count and first names of all other files;
        ``coverage``: lines about what is missing; ``sources``: those given, or the archives in
        folders that hold no clip themselves.

    Raises:
        UserError, DataError: with the reason, if there are no clips to import.
    """
    holds = _optional(reader, "holds", False)
    raws = [RawFiles(source, holds) for source in sources]
    clips: list[Listed] = []
    skipped: list[dict[str, str]] = []
    bad: list[dict[str, str]] = []
    unclaimed: list[tuple[str, str]] = []  # name and label of what is neither
    used: set[str] = set()  # labels of files that belong to a container
    left_out, aside_reason = (_optional(reader, name, "") for name in ("left_out", "aside"))
    for number, raw in enumerate(raws):
        prefix = f"{raw.source.name}: " if len(raws) > 1 else ""
        for name, size, stamp in raw.files:
            label = prefix + name
            where = {"source": number, "name": name, "label": label}
            if holds(name):
                watched = Watched(raw)
                note(label)
                try:
                    inside = reader.open(name, watched).clips  # type: ignore[attr-defined]
                except DataError as error:
                    bad.append(
                        {"file": label, "reason": " ".join([error.what, error.hint]).strip()}
                    )
                    continue
                except MemoryError:
                    bad.append({"file": label, "reason": GREEDY})
                    continue
                where |= watched.stamp(name, len(inside))
                clips += [_listed(clip, **where, part=n) for n, clip in enumerate(inside)]
                used |= {prefix + member for member in watched.used}
            elif (clip := reader.identify(name)) is not None:
                clips.append(_listed(clip, **where, size=size, stamp=stamp))
            elif reason := left_out(name):
                skipped.append({"file": label, "reason": reason})
            else:
                unclaimed.append((name, label))
    aside: dict[str, dict[str, Any]] = {}
    for name, label in unclaimed:
        if label not in used:
            row = aside.setdefault(aside_reason(name) or OTHER, {"count": 0, "first": []})
            row["count"] += 1
            row["first"] += [label] if row["count"] <= FIRST else []
    if not clips and not bad:
        inside = [zip_ for s in sources if s.is_dir() for zip_ in sorted(s.glob("*.zip"))]
        if inside:  # as downloaded: a folder of archives
            return list_files(reader, spec, inside, note)
    if not clips:
        raise _unlisted(bad) if bad else _nothing(raws, spec, aside)
    if all(raws[clip.source].encrypted(clip.name) for clip in clips):
        names = " and ".join(str(raw.source) for raw in raws)
        raise UserError(
            f"{names}: every clip is encrypted.",
            "Unpack the archive with its password, and give the folder.",
        )
    clips = _in_order(clips, spec)
    coverage = _optional(reader, "coverage", [])([clip.id for clip in clips])
    listing: dict[str, Any] = {"clips": clips, "skipped": skipped, "bad": bad}
    where = {"sources": [str(source) for source in sources]}
    return listing | {"aside": aside, "coverage": coverage} | where


class Watched:
    """A folder or archive (``contracts.RawSource``) that notes which files a reader uses."""

    def __init__(self, raw: RawFiles) -> None:
        self.raw = raw
        self.names = raw.names
        self.used: set[str] = set()

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return self.raw.size(name)

    def read(self, name: str) -> bytes:
        """A whole file."""
        self._use(name)
        return self.raw.read(name)

    def open(self, name: str) -> BinaryIO:
        """A file to read from."""
        self._use(name)
        return self.raw.open(name)

    def _use(self, name: str) -> None:
        self.used.add(self.raw.about(name)[0])  # only listed files

    def stamp(self, name: str, clips: int) -> dict[str, int]:
        """Size of one of a container's clips, and a stamp of all the files it was listed from."""
        files = [self.raw.about(file) for file in sorted({name, *self.used})]
        size = sum(size for _, size, _ in files)
        return {"size": size // max(1, clips), "stamp": int(digest(files)[:15], 16)}


def list_generated(generator: DatasetGenerator, spec: dict[str, Any]) -> dict[str, Any]:
    """List the clips of a generator, like ``list_files``."""
    clips = _in_order([_listed(clip, label=clip.id) for clip in generator.clips()], spec)
    if not clips:
        raise UserError(f"{spec['title']} has no clip with these parameters.")
    empty: dict[str, Any] = {"skipped": [], "bad": [], "aside": {}, "coverage": [], "sources": []}
    return {"clips": clips, **empty}


def _optional(reader: DatasetReader, method: str, default: Any) -> Callable[..., Any]:
    return getattr(reader, method, None) or (lambda *_: default)


def _listed(c: ClipName, **where: Any) -> Listed:
    shard = shard_name(c.class_id, c.subject, c.setup, c.camera)
    return Listed(c.id, c.class_id, c.subject, c.camera, c.setup, shard, **where)


def _in_order(clips: list[Listed], spec: dict[str, Any]) -> list[Listed]:
    """Clips by class in official order, then shard, then id; repeated ones are refused."""
    order = {c.id: i for i, c in enumerate(read_classes(Path(spec["classes"])))}
    first: dict[str, str] = {}
    for clip in clips:
        if clip.class_id not in order:
            title = spec["title"]
            raise DataError(f"{clip.label}: the class '{clip.class_id}' is not one of {title}'s.")
        if clip.id in first:
            raise DataError(
                f"{first[clip.id]} and {clip.label} are the same clip '{clip.id}'.",
                "Give folders or archives that hold each clip once.",
            )
        first[clip.id] = clip.label
    return sorted(clips, key=lambda c: (order[c.class_id], c.subject, c.setup, c.camera, c.id))


def _unlisted(bad: list[dict[str, str]]) -> DataError:
    """The error where every container is faulty."""
    more = f" (and {len(bad) - 1} more files)" if len(bad) > 1 else ""
    return DataError(f"{bad[0]['file']}: {bad[0]['reason']}{more}.")


def _nothing(raws: list[RawFiles], spec: dict[str, Any], aside: dict[str, Any]) -> UserError:
    """The error for sources without a clip, with their content."""
    where = " and ".join(str(raw.source) for raw in raws)
    names = [name for raw in raws for name in raw.names]
    packed = [name for name in names if name.lower().endswith(PACKED)]
    what = f"{where} holds no clip of {spec['title']}"
    if packed:
        shown = ", ".join(packed[:FIRST]) + (", ..." if len(packed) > FIRST else "")
        return UserError(
            f"{what}, but archives: {shown}.",
            "Give the zip archives themselves (several are fine), or unpack them.",
        )
    counts = [f"{row['count']} files: {reason}" for reason, row in aside.items() if reason != OTHER]
    remark = f" ({'; '.join(counts)})" if counts else "" if names else ": it is empty"
    return UserError(
        f"{what}{remark}.", "Give the folder or zip archive with the data set's own files."
    )


# --- Shards ------------------------------------------------------------------------------------

Take = Callable[[list[Listed]], Iterator["Clip | DataError"]]


def from_files(
    reader: DatasetReader, sources: Sequence[Path], note: Callable[[str], None] = _unnoted
) -> Take:
    """Clips read from their files, one after the other; or why one cannot be read."""
    raws = [RawFiles(source, _optional(reader, "holds", False)) for source in sources]

    @lru_cache(maxsize=OPEN)
    def container(source: int, name: str) -> Container:
        opened: Container = reader.open(name, Watched(raws[source]))  # type: ignore[attr-defined]
        return opened

    def read(clip: Listed) -> Clip:
        if clip.part < 0:
            return reader.read(raws[clip.source].read(clip.name))
        return container(clip.source, clip.name).read(clip.part)

    def take(clips: list[Listed]) -> Iterator[Clip | DataError]:
        for clip in clips:
            note(clip.label)
            try:
                yield read(clip)
            except DataError as error:
                yield error
            except MemoryError:
                yield DataError(GREEDY)
            except UserError:  # e.g. a missing package
                raise
            except Exception as error:  # a fault of the reader
                reason = f"{type(error).__name__}: {error}"
                raise ValueError(f"the reader fails on {clip.label} ({reason})") from error

    return take


def from_generator(generator: DatasetGenerator) -> Take:
    """Clips made together; one of them is made again alone, once, and must be equal."""
    import numpy as np

    proved = False

    def take(clips: list[Listed]) -> Iterator[Clip | DataError]:
        nonlocal proved
        ids = [clip.id for clip in clips]
        made = list(generator.make(ids))
        if len(made) != len(ids):
            raise ValueError(f"make() returned {len(made)} clips for {len(ids)} ids")
        if not proved and len(ids) > 1:
            alone = generator.make(ids[-1:])[0]
            if not np.array_equal(made[-1], alone, equal_nan=True):
                raise ValueError(f"make() depends on which clips are made together: {ids[-1]}")
            proved = True
        yield from made

    return take


class ShardMaker:
    """Writes shards from clips.

    Args:
        take: where clips come from.
        spec: the ``DatasetSpec`` as JSON values.
        folder: where shards are written, each beside its name and then renamed.
        report: called with the number of clips done since the last call.
    """

    def __init__(
        self, take: Take, spec: dict[str, Any], folder: Path, report: Callable[[int], None]
    ) -> None:
        joints = len(read_toml(Path(spec["layout"]))["joints"])
        self.take = take
        self.shape = (spec["bodies"], joints, 3)
        self.least = spec["min_frames"]
        self.folder = folder
        self.report = report

    def make(self, clips: Iterable[Listed]) -> list[dict[str, Any]]:
        """Write the shards of these clips, which are whole shards.

        Returns:
            One row a shard: ``shard``, ``clips`` (id, frames), ``skipped`` and ``bad`` (file,
            reason); and unless it has no clip, ``frames`` and ``sha256``.
        """
        clips = list(clips)
        groups: dict[str, list[Listed]] = {}
        for clip in clips:
            groups.setdefault(clip.shard, []).append(clip)
        taken = self.take([clip for group in groups.values() for clip in group])
        return [self._make(shard, group, taken) for shard, group in groups.items()]

    def _make(
        self, shard: str, clips: list[Listed], taken: Iterator[Clip | DataError]
    ) -> dict[str, Any]:
        row: dict[str, Any] = {"shard": shard, "clips": [], "skipped": [], "bad": []}
        path = self.folder / shard
        beside = path.with_name(f".{shard}.{os.getpid()}")
        try:
            with beside.open("w+b") as file:
                out = _Shard(file, self.shape)
                for clip in clips:
                    self._add(clip, next(taken), out, row)
                out.close()
            if out.frames:
                row |= {"frames": out.frames, "sha256": file_digest(beside)}
                os.replace(beside, path)
        except OSError as error:
            raise UserError(f"Cannot write {path}: {error.strerror or error}.") from None
        finally:
            beside.unlink(missing_ok=True)
        return row

    def _add(self, clip: Listed, array: Clip | DataError, out: _Shard, row: dict[str, Any]) -> None:
        self.report(1)
        reason = array.what if isinstance(array, DataError) else _fault(array, self.shape)
        if reason:
            row["bad"].append({"file": clip.label, "reason": reason})
        elif len(array) < self.least:  # type: ignore[arg-type]
            row["skipped"].append({"file": clip.label, "reason": _too_short(self.least)})
        else:
            out.write(array)  # type: ignore[arg-type]
            row["clips"].append([clip.id, len(array)])  # type: ignore[arg-type]


class _Shard:
    """A ``.npy`` file, as of ``numpy.save``, that is written clip by clip.

    The header has room for any number of frames, so it can be written again.
    """

    def __init__(self, file: IO[bytes], shape: tuple[int, int, int]) -> None:
        self.file = file
        self.shape = shape
        self.frames = 0
        self._header()
        self.start = file.tell()

    def _header(self) -> None:
        from numpy.lib import format as npy

        shape = (self.frames, *self.shape)
        npy.write_array_header_1_0(
            self.file, {"descr": "<f4", "fortran_order": False, "shape": shape}
        )

    def write(self, clip: Clip) -> None:
        """Add a clip."""
        self.file.write(clip.astype("<f4", copy=False).tobytes())
        self.frames += len(clip)

    def close(self) -> None:
        """Write the final number of frames."""
        self.file.seek(0)
        self._header()
        if self.file.tell() != self.start:
            raise AssertionError("numpy's header does not leave room to grow")


def _too_short(least: int) -> str:
    return f"too short: fewer than {least} frames"


def _fault(array: Any, shape: tuple[int, int, int]) -> str:
    """What is wrong with a clip by its contract; empty if nothing is."""
    import numpy as np

    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        return "the reader did not return a float32 array"
    if array.ndim != 4 or array.shape[1:] != shape or not len(array):
        return f"the shape is {array.shape}, not (frames, {shape[0]}, {shape[1]}, 3)"
    return "" if np.isfinite(array).all() else "it holds values that are not finite"
