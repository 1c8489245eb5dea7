"""Protocol files of a made data set, written to a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zsar_bench.catalogue.catalogue import Catalogue
from zsar_bench.common.classes import ActionClass

CLASSES = [ActionClass(f"a{n}", f"class {n}", "", "") for n in range(1, 7)]
FIELDS: dict[str, Any] = {
    "id": "made-4-2",
    "title": "Made 4/2",
    "dataset": "made",
    "family": "tests",
    "source": "this file",
    "aliases": ["made", "an official long name"],
    "seen": ["a6", "a1", "a3", "a4"],
    "unseen": ["a5", "a2"],
    "samples": {
        "rule": "performer-cross-fit",
        "groups": [["1", "3"], ["2", "4"]],
        "test_clips": 8,
    },
}


def toml(value: Any) -> str:
    """A TOML inline value; JSON is one for what these tests hold, tables apart."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
    return json.dumps(value)


def write(folder: Path, name: str = "made-4-2", **changes: Any) -> Path:
    """A protocol file with some fields changed; ``None`` leaves a field out."""
    values = {k: v for k, v in (FIELDS | changes).items() if v is not None}
    path = folder / f"{name}.toml"
    path.write_text("".join(f"{k} = {toml(v)}\n" for k, v in values.items()), "utf-8")
    return path


def catalogue(*folders: Path, classes: Path | None = None) -> Catalogue:
    """A catalogue of these protocol folders and the data set ``made``."""
    spec = {"name": "made", "plugin": "toy", "digest": "", "classes": str(classes)}
    return Catalogue(
        {
            "protocol_folders": [str(f) for f in folders],
            "datasets": {"made": spec},
            "conflicts": {},
            "plugins": [],
        },
        [],
    )
