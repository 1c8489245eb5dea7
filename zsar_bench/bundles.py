"""Clips by shard: what a worker may open, and what travels through the pipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.datasets import Dataset

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
    """The shards of these clips with their labels: all a training worker may open.

    Every shard is used whole, so that a bundle is a list of files and never a copy.

    Args:
        dataset, index: the clips.
        seen: official ids of the seen classes, in label order.
        raw: whether the raw files are in view; they are checked then.

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
