"""The ``features.json`` of exported features, checked against the protocol of a run.

Labels alone do not distinguish two protocols of the same classes, nor synthetic clips from real
ones. Folders without this file are accepted as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.common.files import read_json
from zsar_bench.errors import UserError

if TYPE_CHECKING:
    from zsar_bench.data.protocols.protocol import Protocol

FORMAT = "zsar-bench features 1"  #: marks a folder as an export


def read_export(folder: Path) -> dict[str, Any] | None:
    """The ``features.json`` of an export; None where there is none.

    Raises:
        UserError: if it is damaged.
    """
    file = folder / "features.json"
    content = read_json(file) if file.is_file() else None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return None
    try:
        str(content["protocol"]["id"] + content["protocol"]["digest"])
        bool(content["dataset"]["synthetic"])
        [str(row["folder"]) for row in content["rounds"]]
    except (KeyError, TypeError):
        raise UserError(f"The file {file} is damaged.", "Export the features again.") from None
    return content


def check_export(path: Path, protocol: Protocol) -> None:
    """Refuse what was exported for another protocol, or from synthetic clips.

    Args:
        path: a folder of features, or one round of an export.
        protocol: of the run.

    Raises:
        UserError: naming both protocols.
    """
    content = read_export(path)
    if content is None:
        above = read_export(path.parent)
        mine = above is not None and path.name in [row["folder"] for row in above["rounds"]]
        content = above if mine else None
    if content is None:
        return
    name = content["protocol"]["id"]
    if content["dataset"]["synthetic"]:
        raise UserError(
            f"{path} holds features of synthetic clips, exported for '{name}'; "
            "--features takes those of real ones.",
            f"Without --features: zsar-bench run METHOD --protocol {name}",
        )
    if content["protocol"]["digest"] != protocol.digest:
        raise UserError(
            f"{path} was exported for the protocol '{name}', not for '{protocol.id}': "
            "its training and test clips are others.",
            f"Type: --protocol {name}",
        )
