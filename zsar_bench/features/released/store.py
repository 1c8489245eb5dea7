"""The store of released features, by content.

    <home>/features/<hash>/features.json, seal.json, train/<label>.safetensors, ztest/..., gtest/...

A shard holds the clips of one class and part. A copy that is damaged, or has no seal, is made again
from the user's folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.common import checksums
from zsar_bench.common.files import discard, fresh_folder, home, make_folder, write_json, writing
from zsar_bench.errors import UserError
from zsar_bench.features.released.folder import FeatureFolder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def features_folder() -> Path:
    """Where released features are kept."""
    return home() / "features"


def shard_name(digest: str, part: str, label: int) -> str:
    """File, in ``features_folder()``, of one part's clips of one class."""
    return f"{digest}/{part}/{label}.safetensors"


def write_store(files: FeatureFolder, dataset: str, final: Path) -> None:
    """Copy a checked folder into the store, clips of a shard in their file's order."""
    import numpy as np
    from safetensors.numpy import save_file

    with fresh_folder(final) as folder:
        for name, part in files.parts.items():
            make_folder(folder / name)
            for label in np.unique(part.labels).tolist():
                rows = np.ascontiguousarray(part.features[part.labels == label])
                file = folder / name / f"{label}.safetensors"
                with writing(file):
                    save_file({"pooled": rows}, file)
        content = {
            "name": files.path.name,
            "dataset": dataset,
            "channels": files.channels,
            "clips": {name: len(part.labels) for name, part in files.parts.items()},
            "classes": {n: len({*p.labels.tolist()}) for n, p in files.parts.items()},
        }
        write_json(folder / "features.json", content)
        checksums.seal(folder)


def tend(folder: Path) -> None:
    """Delete what is damaged; the caller holds its lock."""
    if folder.is_dir() and checksums.broken(folder):
        discard(folder)


def check(names: Iterable[str]) -> None:
    """Refuse shards, named as ``shard_name`` does, that are not as they were copied.

    Raises:
        Damaged: naming the file.
    """
    by_digest: dict[str, list[str]] = {}
    for name in names:
        digest, _, file = name.partition("/")
        by_digest.setdefault(digest, []).append(file)
    for digest, files in by_digest.items():
        folder = features_folder() / digest
        checksums.check(folder, files, f"Delete the folder {folder} and run again.")


def columns(rounds: dict[str, FeatureFolder], ids: list[str]) -> dict[str, list[Any]]:
    """What is known of every clip: round after round, part after part, in their files' order.

    Args:
        rounds: round name -> its folder.
        ids: official class ids in label order.
    """
    from zsar_bench.metrics.measures import NOBODY  # numpy: not for reading the command line

    clips: dict[str, list[Any]] = {n: [] for n in ("id", "class", "subject", "shard", "row")}
    for round_name, files in rounds.items():
        prefix = "" if len(rounds) == 1 else f"{round_name}/"
        for name, part in files.parts.items():
            count: dict[int, int] = {}
            for number, label in enumerate(part.labels.tolist()):
                clips["id"].append(f"{prefix}{name}/{number}")
                clips["class"].append(ids[label])
                clips["subject"].append(NOBODY)
                clips["shard"].append(shard_name(files.digest, name, label))
                clips["row"].append(count.setdefault(label, 0))
                count[label] += 1
    return clips


@dataclass(frozen=True)
class ReleasedClips:
    """The clips behind released features (``sources.Samples``).

    Attributes:
        clips: columns id, class, subject, and where the features lie: shard, row.
        digest: of all arrays.
    """

    clips: dict[str, list[Any]]
    digest: str
    layout: dict[str, Any] = field(default_factory=dict)

    def contents(self, index: list[int]) -> list[bytes]:
        """SHA-256 of each clip's features; nothing else of a clip is known."""
        rows = self.rows(index)
        return [hashlib.sha256(row.tobytes()).digest() for row in rows]

    def rows(self, index: list[int]) -> NDArray[np.float32]:
        """Features (n, C) of clips, row by row as in ``index``."""
        import numpy as np

        wanted = dict.fromkeys(self.clips["shard"][i] for i in index)
        check(wanted)
        shards = {shard: _load(features_folder() / shard) for shard in wanted}
        picked = [shards[self.clips["shard"][i]][self.clips["row"][i]] for i in index]
        return np.stack(picked)


def _load(path: Path) -> NDArray[np.float32]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        features: NDArray[np.float32] = load_file(path)["pooled"]
    except (OSError, SafetensorError, KeyError) as error:
        raise UserError(
            f"{path} is damaged: {error}.", f"Delete the folder {path.parents[1]} and run again."
        ) from None
    return features
