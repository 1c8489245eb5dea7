"""Action classes, as a data set lists them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zsar_bench.common.files import parse_toml
from zsar_bench.errors import UserError


@dataclass(frozen=True)
class ActionClass:
    """One class: official ``id``, ``name``, and its ``verb`` and ``noun`` (may be empty)."""

    id: str
    name: str
    verb: str
    noun: str


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file.

    Raises:
        UserError: naming the file, if it is missing or not TOML.
    """
    try:
        return parse_toml(path.read_text("utf-8-sig"))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from None
    except ValueError as error:  # what is not UTF-8 is one too
        raise UserError(f"{path} is not valid TOML: {error}.") from None


def read_classes(path: Path) -> list[ActionClass]:
    """The classes of a data set, in official order."""
    rows = read_toml(path).get("class", [])
    try:
        classes = [
            ActionClass(r["id"], r["name"], r.get("verb", ""), r.get("noun", "")) for r in rows
        ]
    except (KeyError, TypeError, AttributeError):
        classes = None
    if classes is None or not all(isinstance(v, str) for c in classes for v in vars(c).values()):
        raise UserError(f"{path}: every [[class]] needs an id and a name, and holds texts only.")
    return classes
