"""Published results: reading, checking and selecting them. They were not measured here.

A row holds method, protocol, metric, value, the source that published it, and how it was recovered;
``remarks`` are notes for readers, ``flags`` the same for programs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zsar_bench.errors import UserError, unknown

Json = dict[str, Any]

#: Flags of a row and their meaning.
FLAGS: Mapping[str, str] = {
    "ablation": "a part or setting of the method was varied for study; not its headline number",
    "approximate": "read off a plot",
    "class-transductive": "the texts of unseen classes take part in training",
    "derived": "computed from other printed numbers",
    "disputed": "another source prints another number for the same thing",
    "either-branch": "a clip counts as right if either of two branches is right",
    "either-branch-possible": "the same, suspected but not verifiable",
    "inconsistent": "the printed S, U and H contradict each other",
    "label-leak-possible": "the released code uses the true class of a test clip",
    "mixed-splits": "its table mixes several families of class splits under one heading",
    "multimodal": "a large model trained on far more than skeletons answers",
    "not-skeleton-only": "features come from RGB images too",
    "re-run": "obtained by somebody who reran the authors' code, not by the authors",
    "second-hand": "read in a listing or note, not in the source itself",
    "subset": "only some of the unseen classes, or changed test clips",
    "test-selection": "a checkpoint, constant or weight was chosen by labels of the test clips",
    "transductive": "adapts to the unlabelled test clips",
}
TEXTS = ("method", "venue", "protocol", "skeleton_encoder", "text_encoder", "source")
LISTS = ("remarks", "flags")


def read_published(folders: Iterable[Path]) -> list[Json]:
    """Rows of every published-results file.

    Raises:
        UserError: naming the file, if it is not JSON or a row lacks a required field.
    """
    rows: list[Json] = []
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            try:
                entries = json.loads(path.read_bytes())["rows"]
                for number, row in enumerate(entries, 1):
                    _check(row, number)
            except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
                raise UserError(f"The published results {path} are damaged: {error}.") from None
            rows += entries
    return rows


def _check(row: Any, number: int) -> None:
    if not isinstance(row, dict):
        raise ValueError(f"row {number} is no object")
    for name in TEXTS:
        if not isinstance(row.get(name), str):
            raise ValueError(f"row {number} has no text '{name}'")
    if type(row.get("value")) not in (int, float) or type(row.get("year")) is not int:
        raise ValueError(f"row {number} needs a number 'value' and a 'year'")
    for name in LISTS:
        texts = row.get(name, [])
        if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
            raise ValueError(f"row {number}: '{name}' is no list of texts")
    for flag in row.get("flags", ()):
        if flag not in FLAGS:
            raise ValueError(f"row {number}: '{flag}' is no flag; there are {', '.join(FLAGS)}")


def headlines(rows: Iterable[Json]) -> list[Json]:
    """The rows to show with measured ones: top-1 accuracy over the unseen classes. Other metrics,
    ablations and subsets of the test clips are left out."""
    return [
        row
        for row in rows
        if row.get("metric", "top1") == "top1"
        and not {"ablation", "subset"} & {*row.get("flags", ())}
    ]


def choose(rows: Sequence[Json], protocol: str = "", method: str = "") -> list[Json]:
    """Rows of one protocol or method; an empty name selects all.

    Args:
        rows: all published rows.
        protocol: id as in the rows.
        method: name, case-insensitive.

    Raises:
        UserError: for a method without rows (suggests the nearest name).
    """
    names = {row["method"] for row in rows}
    if method and method.lower() not in {n.lower() for n in names}:
        raise unknown("published method", method, names, "zsar-bench list published")
    return [
        row
        for row in rows
        if protocol in ("", row["protocol"]) and method.lower() in ("", row["method"].lower())
    ]
