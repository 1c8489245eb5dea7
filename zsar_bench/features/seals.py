"""Seals of a trained encoder and its features in the cache.

    <home>/encoders/<key>/seal.json           over state.safetensors and encoder.json
    <home>/encoders/<key>/pooled/seal.json    over the features; tokens/ likewise

A folder of features that is damaged, or has no seal, is computed again; an encoder that is
damaged is trained again, and its features with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from zsar_bench.common import checksums
from zsar_bench.common.events import Event
from zsar_bench.common.files import discard

STATE = "state.safetensors"
ENCODED = "confinement.json"  #: beside the features: how their worker was confined
ENCODER = (STATE, "encoder.json")
AGAIN = "Type the same command again: it is computed anew."


def intact(folder: Path, parts: Iterable[str]) -> bool:
    """Whether the encoder and these folders of features exist and are whole."""
    return all((folder / part).is_dir() and not broken(folder, part) for part in ("", *parts))


def broken(folder: Path, part: str) -> list[str]:
    """Broken files of a folder of features; with an empty ``part``, of the encoder itself."""
    faulty = checksums.broken(folder / part, None if part else ENCODER)
    return faulty if faulty or not part or (folder / part / ENCODED).is_file() else [ENCODED]


def check(folder: Path, part: str, names: Iterable[str]) -> None:
    """Refuse damaged files of a part.

    Raises:
        Damaged: naming the first.
    """
    checksums.check(folder / part, names, AGAIN)


def tend(folder: Path, parts: Iterable[str], on_event: Event) -> None:
    """Delete what is damaged; the caller holds the lock."""
    for part in ("", *parts):
        place = folder / part
        if place.is_dir() and (names := broken(folder, part)):
            note = f"{place / names[0]} is damaged; it is made again."
            on_event({"stage": "encoder", "note": note})
            discard(place)
