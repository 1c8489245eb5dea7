"""What an export of features says of itself: the ``features.json`` beside its arrays.

Labels alone cannot tell apart two protocols of the same classes, nor synthetic clips from real
ones. Other people's folders are taken as they are; an export of ours is held to its word.
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
    """The ``features.json`` of an export of ours; None where there is none.

    Raises:
        UserError: if it is damaged.
    """
    file = folder / "features.json"
    about = read_json(file) if file.is_file() else None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        return None
    try:
        str(about["protocol"]["id"] + about["protocol"]["digest"])
        bool(about["dataset"]["synthetic"])
        [str(one["folder"]) for one in about["rounds"]]
    except (KeyError, TypeError):
        raise UserError(f"The file {file} is damaged.", "Export the features again.") from None
    return about


def check_export(path: Path, protocol: Protocol) -> None:
    """Refuse what was exported for another protocol, or from synthetic clips.

    Args:
        path: a folder of features, ours or not, or one round of an export.
        protocol: what the features are to be tested on.

    Raises:
        UserError: naming both protocols.
    """
    about = read_export(path)
    if about is None:
        above = read_export(path.parent)
        mine = above is not None and path.name in [one["folder"] for one in above["rounds"]]
        about = above if mine else None
    if about is None:
        return
    name = about["protocol"]["id"]
    if about["dataset"]["synthetic"]:
        raise UserError(
            f"{path} holds features of synthetic clips, exported for '{name}'; "
            "--features takes those of real ones.",
            f"Without --features: zsar-bench run METHOD --protocol {name}",
        )
    if about["protocol"]["digest"] != protocol.digest:
        raise UserError(
            f"{path} was exported for the protocol '{name}', not for '{protocol.id}': "
            "its training and test clips are others.",
            f"Type: --protocol {name}",
        )
