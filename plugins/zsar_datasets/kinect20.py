"""kinect20: three data sets of the same sensor family as one, for a benchmark with power.

The classes are those of ``data/kinect20/classes.toml``, where synonyms are merged with reasons;
the joints are the 20 that all three have, found by name. Clips keep their values: metres in the
camera's frame, y up. The setup says which data set a clip is from, and a letter before each
performer's number too.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zsar_bench.contracts import ClipName, PreparedClips

FOLDER = Path(__file__).parent / "data" / "kinect20"
LETTERS = {"utd-mhad": "u", "msr-action3d": "m", "nw-ucla": "n"}


class _Place(NamedTuple):
    """Where a clip lies: the part's name, and the clip's number there."""

    part: str
    number: int


class Pool:
    """Puts the parts together (``zsar_bench.contracts.DatasetPool``)."""

    def __init__(self, parts: Mapping[str, PreparedClips]) -> None:
        self.parts = parts

    @cached_property
    def _merged(self) -> dict[tuple[str, str], str]:
        """(part, its class) -> class here."""
        rows = tomllib.loads((FOLDER / "classes.toml").read_text("utf-8"))["class"]
        pairs = [(tuple(source.split(":")), row["id"]) for row in rows for source in row["of"]]
        return {(part, class_id): merged for (part, class_id), merged in pairs}

    @cached_property
    def _joints(self) -> dict[str, list[int]]:
        """Part -> where each of the shared joints stands among its own."""
        shared = tomllib.loads((FOLDER / "layout.toml").read_text("utf-8"))["joints"]
        return {
            name: [part.layout["joints"].index(joint) for joint in shared]
            for name, part in self.parts.items()
        }

    @cached_property
    def _places(self) -> dict[str, _Place]:
        return {clip.id: place for clip, place in self._walk()}

    def _walk(self) -> Iterator[tuple[ClipName, _Place]]:
        for name, part in self.parts.items():
            columns = [part.clips[column] for column in ("id", "class", "subject", "camera")]
            for number, (id_, class_id, subject, camera) in enumerate(zip(*columns, strict=True)):
                yield (
                    ClipName(
                        f"{name}/{id_}",
                        self._merged[name, class_id],
                        f"{LETTERS[name]}{subject}",
                        camera,
                        name,
                    ),
                    _Place(name, number),
                )

    def clips(self) -> list[ClipName]:
        """All clips of all parts."""
        return [clip for clip, _ in self._walk()]

    def make(self, ids: Sequence[str]) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        """These clips, each (T, 1, 20, 3) float32 in metres."""
        found: dict[str, np.ndarray[Any, np.dtype[np.float32]]] = {}
        for name, part in self.parts.items():
            mine = [(i, self._places[i].number) for i in ids if self._places[i].part == name]
            clips = part.read_clips([number for _, number in mine])
            for (i, _), clip in zip(mine, clips, strict=True):
                found[i] = np.ascontiguousarray(clip[:, :1, self._joints[name]])
        return [found[i] for i in ids]
