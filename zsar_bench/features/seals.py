"""A trained encoder and its features in the cache: whole, or made again.

    <home>/encoders/<key>/seal.json           over state.safetensors and encoder.json
    <home>/encoders/<key>/pooled/seal.json    over the features; tokens/ likewise

A folder of features that is damaged is computed again; an encoder that is damaged is trained
again, and its features with it. Versions before seals wrote none: what they left is sealed as it
is when an encoder is first used, so damage done before that is not found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from zsar_bench.common import checksums
from zsar_bench.common.files import discard

ENCODER = ("state.safetensors", "encoder.json")
AGAIN = "Type the same command again: it is computed anew."


def intact(folder: Path, parts: Iterable[str]) -> bool:
    """Whether the encoder and these folders of features are there, and none is broken."""
    return all(
        (folder / part).is_dir() and not (checksums.sealed(folder / part) and broken(folder, part))
        for part in ("", *parts)
    )


def all_sealed(folder: Path, parts: Iterable[str]) -> bool:
    """Whether the encoder and these folders of features have seals."""
    return all(checksums.sealed(folder / part) for part in ("", *parts))


def broken(folder: Path, part: str) -> list[str]:
    """Broken files of a folder of features; with an empty ``part``, of the encoder itself."""
    return checksums.broken(folder / part, None if part else ENCODER)


def check(folder: Path, part: str, names: Iterable[str]) -> None:
    """Refuse damaged files of a part.

    Raises:
        Damaged: naming the first.
    """
    checksums.check(folder / part, names, AGAIN)


def tend(folder: Path, parts: Iterable[str], on_event: Callable[[dict[str, Any]], None]) -> None:
    """Seal what an older version left, and delete what is damaged; the caller holds the lock."""
    for part in ("", *parts):
        one = folder / part
        if not one.is_dir():
            continue
        whole = bool(part) or all((one / name).is_file() for name in ENCODER)
        if whole and not checksums.sealed(one):
            checksums.seal(one, deep=bool(part))
        found = broken(folder, part)
        if found:
            note = f"{one / found[0]} is damaged; it is made again."
            on_event({"stage": "encoder", "note": note})
            discard(one)
