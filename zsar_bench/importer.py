"""Raw files into the prepared store; runs in a worker, because it calls a plugin's reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.archives import RawFiles
from zsar_bench.codehash import file_digest
from zsar_bench.datasets import COLUMNS, FORMAT, read_classes, read_toml, shard_name
from zsar_bench.errors import DataError, UserError
from zsar_bench.paths import write_json

if TYPE_CHECKING:
    from zsar_bench.contracts import ClipName, DatasetReader

SHOWN = 5  #: bad files named in an error

Progress = Callable[[int, int], None]


def import_clips(
    reader: DatasetReader,
    spec: dict[str, Any],
    source: Path,
    folder: Path,
    skip_bad: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Read every clip of ``source`` and write a prepared data set.

    Args:
        reader: the data set's reader.
        spec: its ``DatasetSpec`` as JSON values.
        source: folder or zip archive.
        folder: an empty folder, to be renamed by the caller.
        skip_bad: leave out unreadable files and list them, instead of refusing everything.
        progress: called with (clips read, clips in all).

    Returns:
        The parsed ``dataset.json``.

    Raises:
        DataError: for unreadable files, with names and reasons.
        UserError: if the source holds no clip of this data set.
    """
    raw = RawFiles(source)
    classes = read_classes(Path(spec["classes"]))
    found = _identify(reader, raw.names, [c.id for c in classes], source, spec["title"])
    layout = read_toml(Path(spec["layout"]))
    shape = (spec["bodies"], len(layout["joints"]), 3)
    (folder / "shards").mkdir()
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    shards: dict[str, dict[str, Any]] = {}
    bad: list[dict[str, str]] = []
    short = _left_out(reader, raw.names)
    done = 0
    order = {c.id: i for i, c in enumerate(classes)}
    found.sort(key=lambda item: (order[item[0].class_id], item[0].subject, item[0].id))
    for (class_id, subject), group in groupby(found, key=lambda f: (f[0].class_id, f[0].subject)):
        arrays: list[Any] = []
        shard = shard_name(class_id, subject)
        start = 0
        for clip, name in group:
            done += 1
            progress(done, len(found))
            try:
                array = _checked(reader.read(raw.read(name)), shape)
            except DataError as error:
                bad.append({"file": name, "reason": error.what})
                continue
            if len(array) < spec["min_frames"]:
                short.append({"file": name, "reason": f"{len(array)} frame(s): too short"})
            else:
                row = (clip.id, class_id, subject, shard, start, len(array))
                for column, value in zip(COLUMNS, row, strict=True):
                    columns[column].append(value)
                start += len(array)
                arrays.append(array)
        if arrays:
            shards[shard] = _write_shard(folder / "shards" / shard, arrays)
    if bad and not (skip_bad and columns["id"]):
        raise _refusal(bad, len(found))
    about = {
        "format": FORMAT,
        "name": spec["name"],
        "clips": columns,
        "shards": shards,
        "layout": layout,
        "classes": [vars(c) for c in classes],
        "skipped": bad + short,
        "expected_clips": spec["clips"],
    }
    write_json(folder / "dataset.json", about)
    return about


def _identify(
    reader: DatasetReader, names: Iterable[str], classes: list[str], source: Path, title: str
) -> list[tuple[ClipName, str]]:
    found = [(clip, name) for name in names if (clip := reader.identify(name)) is not None]
    if not found:
        raise UserError(
            f"{source} holds no clip of {title}.",
            "Give the folder or zip archive with the data set's own files.",
        )
    first: dict[str, str] = {}
    for clip, name in found:
        if clip.class_id not in classes:
            raise DataError(f"{name}: the class '{clip.class_id}' is not one of {title}'s.")
        if clip.id in first:
            raise DataError(
                f"{first[clip.id]} and {name} are the same clip '{clip.id}'.",
                "Give a folder that holds each clip once.",
            )
        first[clip.id] = name
    return found


def _left_out(reader: DatasetReader, names: Iterable[str]) -> list[dict[str, str]]:
    """Files that the reader knows to be no clips although they are named like some."""
    ask = getattr(reader, "left_out", None)
    if ask is None:
        return []
    return [{"file": name, "reason": reason} for name in names if (reason := ask(name))]


def _checked(array: Any, shape: tuple[int, int, int]) -> Any:
    """A reader's answer, held to its contract."""
    import numpy as np

    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        raise DataError("the reader did not return a float32 array")
    if array.ndim != 4 or array.shape[1:] != shape or not len(array):
        raise DataError(f"the shape is {array.shape}, not (frames, {shape[0]}, {shape[1]}, 3)")
    if not np.isfinite(array).all():
        raise DataError("it holds values that are not finite")
    return array


def _write_shard(path: Path, arrays: list[Any]) -> dict[str, Any]:
    import numpy as np

    whole = np.ascontiguousarray(np.concatenate(arrays))
    np.save(path, whole, allow_pickle=False)
    return {"sha256": file_digest(path), "frames": len(whole)}


def _refusal(bad: list[dict[str, str]], total: int) -> DataError:
    lines = [f"  {b['file']}: {b['reason']}" for b in bad[:SHOWN]]
    more = [f"  and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
    count = f"{len(bad)} of {total} files"
    return DataError(
        "\n".join([f"{count} cannot be read; nothing was imported:", *lines, *more]),
        "Get these files again, or leave them out with --skip-bad.",
    )
