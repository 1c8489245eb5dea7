"""Numbers that papers print, as data: read, checked, chosen. None of them was measured here.

A row says who reached what by which protocol and metric, who printed it where, and how it was
recovered; ``remarks`` tell what a reader must know, ``flags`` the same for a machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zsar_bench.errors import UserError, unknown

Json = dict[str, Any]

#: What a row may be marked with.
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
        UserError: naming the file, if it is not JSON or a row lacks what every row has.
    """
    rows: list[Json] = []
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            try:
                found = json.loads(path.read_bytes())["rows"]
                for number, row in enumerate(found, 1):
                    _check(row, number)
            except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
                raise UserError(f"The published results {path} are damaged: {error}.") from None
            rows += found
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
    """The rows to stand beside measured ones: accuracy over the unseen classes, as a method is
    meant to be used. Other metrics, ablations and parts of the test are left out."""
    return [
        row
        for row in rows
        if row.get("metric", "top1") == "top1"
        and not {"ablation", "subset"} & {*row.get("flags", ())}
    ]


def choose(rows: Sequence[Json], protocol: str = "", method: str = "") -> list[Json]:
    """Rows of one protocol or method; empty: of all.

    Args:
        rows: all published rows.
        protocol: id, as rows have it.
        method: its name, in whatever case.

    Raises:
        UserError: for a method that has no row at all (suggests the nearest).
    """
    names = {row["method"] for row in rows}
    if method and method.lower() not in {n.lower() for n in names}:
        raise unknown("published method", method, names, "zsar-bench list published")
    return [
        row
        for row in rows
        if protocol in ("", row["protocol"]) and method.lower() in ("", row["method"].lower())
    ]
