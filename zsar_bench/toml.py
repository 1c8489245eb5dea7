"""TOML of strangers: what Python's reader lets through or stumbles over is an error of one kind."""

from __future__ import annotations

import re
import tomllib
from typing import Any

_MOST = 2**63  #: of a whole number; TOML promises 64 bits
_LONG = re.compile(r"[0-9A-Fa-f_]{15}")


def parse(text: str) -> dict[str, Any]:
    """What a TOML file holds.

    Raises:
        ValueError: for what is no TOML, is nested too deeply, or holds whole numbers of more than
            64 bits: those written in hexadecimal may be so large that Python cannot show them.
    """
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if _LONG.search(text):
        _check_numbers(data)
    return data


def _check_numbers(data: dict[str, Any]) -> None:
    left: list[Any] = [data]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list):
            left += value
        elif isinstance(value, int) and not -_MOST <= value < _MOST:
            raise ValueError("it holds a number of more than 64 bits")
