"""Checks of the answers of import workers, in which a reader's code runs.

A worker writes shards into its own folder. The parent checks each and moves it into the store,
where no worker may write.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from zsar_bench.data.clips.import_job import Listed
from zsar_bench.data.clips.store import shard_name
from zsar_bench.errors import DataError, RunFailed, UserError

NOTE = "reading"  #: in a worker's folder: the label of the file that it reads
_LONGEST = 1000  # bytes of a label


def checked_listing(answer: dict[str, Any], places: Sequence[str]) -> dict[str, Any]:
    """The listing in a worker's answer (``import_job.list_files``), its clips as ``Listed``.

    Args:
        answer: of the worker.
        places: the sources; only these, or archives that lie in them, are read later.

    Raises:
        RunFailed: if it is none.
    """
    try:
        listing = dict(answer["listing"])
        listing["clips"] = [_clip(row) for row in listing["clips"]]
        sources = [str(source) for source in listing["sources"]]
        if sources != list(places) and not all(_archive_in(source, places) for source in sources):
            raise ValueError
        for name in ("skipped", "bad"):
            listing[name] = _reasons(listing[name])
        listing["coverage"] = [str(line) for line in listing["coverage"]]
        listing["aside"] = {
            str(reason): {"count": int(row["count"]), "first": [str(n) for n in row["first"]]}
            for reason, row in listing["aside"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RunFailed("the worker's answer is no list of clips") from None
    except UserError as error:  # a shard of no plain name
        raise RunFailed(error.what) from None
    return listing


def _clip(row: Any) -> Listed:
    clip = Listed(*row)
    if not all(type(text) is str for text in (*clip[:6], clip.name, clip.label)):
        raise TypeError
    if not all(type(number) is int for number in (clip.source, clip.size, clip.stamp, clip.part)):
        raise TypeError
    if clip.shard != shard_name(clip.class_id, clip.subject, clip.setup, clip.camera):
        raise ValueError
    return clip


def _archive_in(path: str, places: Iterable[str]) -> bool:
    folder = os.path.dirname(os.path.realpath(path))
    return path.endswith(".zip") and folder in {os.path.realpath(place) for place in places}


def _reasons(rows: Any) -> list[dict[str, str]]:
    return [{"file": str(row["file"]), "reason": str(row["reason"])} for row in rows]


def take_shards(
    answer: dict[str, Any], clips: Sequence[Listed], made: Path, shards: Path
) -> list[dict[str, Any]]:
    """Move a worker's shards into the store.

    Args:
        answer: of the worker: ``shards``, as ``import_job.ShardMaker.make`` gives them.
        clips: of its request; whole shards.
        made: where it has written them.
        shards: where they go.

    Returns:
        The checked rows.

    Raises:
        RunFailed: if these are not the shards of these clips.
    """
    wanted: dict[str, set[str]] = {}
    for clip in clips:
        wanted.setdefault(clip.shard, set()).add(clip.id)
    try:
        rows = [_row(row, wanted.pop(row["shard"])) for row in answer["shards"]]
        if wanted:
            raise ValueError
        for row in rows:
            if row["clips"]:
                status = os.lstat(made / row["shard"])
                plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
                if not plain:
                    raise ValueError
    except (KeyError, TypeError, ValueError, FileNotFoundError):
        raise RunFailed("the worker's answer is no list of shards") from None
    for row in rows:
        if row["clips"]:
            os.replace(made / row["shard"], shards / row["shard"])
    return rows


def _row(row: dict[str, Any], ids: set[str]) -> dict[str, Any]:
    clips = [[str(clip_id), frames] for clip_id, frames in row["clips"]]
    names, lengths = {clip_id for clip_id, _ in clips}, [frames for _, frames in clips]
    if not names <= ids or len(names) != len(clips):
        raise ValueError
    if not all(type(frames) is int and frames > 0 for frames in lengths):
        raise ValueError
    checked: dict[str, Any] = {
        "shard": str(row["shard"]),
        "clips": clips,
        "skipped": _reasons(row["skipped"]),
        "bad": _reasons(row["bad"]),
    }
    if clips:
        if sum(lengths) != row["frames"] or not re.fullmatch("[0-9a-f]{64}", row["sha256"]):
            raise ValueError
        checked |= {"frames": sum(lengths), "sha256": row["sha256"]}
    return checked


def named(error: RunFailed, folder: Path) -> Exception:
    """The error of a worker that died, with the file that it read; others as they are."""
    died = error.status in ("oom", "timeout") or error.reason.startswith("the worker was killed")
    if not died:
        return error
    try:
        file = os.open(folder / NOTE, os.O_RDONLY | os.O_NOFOLLOW)
        label = os.read(file, _LONGEST).decode("utf-8", "replace")
        os.close(file)
    except OSError:
        return error
    if not label:
        return error
    return DataError(
        f"{label}: reading it ended the worker: {error.reason}.",
        "Get this file again, or leave it out.",
    )
