"""Targets: data of one's own, a folder with a description, a manifest and clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.fuzz.mutate import Seed
from benchmarks.fuzz.registry import (
    Fuzzed,
    Make,
    as_json,
    joints,
    lines,
    npy,
    sound,
    sound_container,
    target,
)
from kit.toy_files import Files

ABOUT = b"""name = "mine"
title = "two moves"
fps = 25
bodies = 2
min_frames = 1
[samples]
rule = "performer-cross-fit"
groups = [["p1"], ["p2"]]
"""
LAYOUT = b"""joints = ["hips", "left_hip", "right_hip", "head"]
parents = [0, 0, 0, 0]
parts = ["torso", "legs", "legs", "head"]
mirror = [0, 2, 1, 3]
left_hip = 1
right_hip = 2
up = 1
"""
LISTED = b"""[[class]]
id = "up"
name = "rise"
[[class]]
id = "down"
name = "sink"
verb = "sink"
"""
MANIFEST = b'clip,class,subject,camera\na.npy,up,p1,1\n"b/c.csv",down,p2,2\nd.json,up,p1,1\n'
SHAPE = (2, 4, 3)
ONE = joints(2, 4, 3)
MINE = {
    "dataset.toml": ABOUT,
    "layout.toml": LAYOUT,
    "classes.toml": LISTED,
    "manifest.csv": MANIFEST,
    "a.npy": npy(ONE),
    "b/c.csv": lines(ONE.reshape(2, 12), ","),
    "d.json": as_json(frames=ONE.tolist()),
}


def _mine(name: str) -> Make:
    """A folder of one's own whose one file is damaged; all clips are read."""

    def make(folder: Path) -> Fuzzed:
        from zsar_bench.catalogue.custom import ABOUT as FILE
        from zsar_bench.data.custom.reader import Reader
        from zsar_bench.data.protocols.files import check_samples

        def read(data: bytes) -> None:
            found = Reader().open("manifest.csv", Files({**MINE, name: data}))
            if found.description.samples:
                check_samples(found.description.samples, FILE)
            sound_container(found, *found.description.shape)

        return Fuzzed([Seed(MINE[name])], read)

    make.__name__ = f"own_{name.partition('.')[0]}"
    return make


for _name in ("dataset.toml", "layout.toml", "classes.toml", "manifest.csv"):
    target(_mine(_name))


def _clip(name: str, *seeds: bytes) -> Make:
    """One clip of one's own."""

    def make(folder: Path) -> Fuzzed:
        from zsar_bench.data.custom.clips import read_clip

        return Fuzzed(
            [Seed(data) for data in seeds], lambda data: sound(read_clip(name, data, SHAPE), *SHAPE)
        )

    make.__name__ = f"own_{name.partition('.')[2]}"
    return make


_TWO = np.stack([ONE, ONE + 1], axis=1)
target(_clip("a.npy", npy(ONE), npy(np.asfortranarray(_TWO.astype(">f4"))), npy(_TWO.astype("f2"))))
target(_clip("a.csv", b"x,y\n" + MINE["b/c.csv"], lines(_TWO.reshape(2, 24), ",")))
target(_clip("a.json", MINE["d.json"], as_json(frames=_TWO.tolist(), fps=30)))
