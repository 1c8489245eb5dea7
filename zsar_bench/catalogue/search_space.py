"""Where a method's parameters are searched, and which points a search looks at, in which order.

Points do not depend on what was found at others: trial k of a search is the same for every
budget above k, so a larger budget continues a smaller one, and equal budgets are equal searches.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zsar_bench.common.hashing import derive_seed

PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29)  #: bases of the sequence, one a parameter
FINE = 1e-9  #: distances below this are not told apart
DIGITS = 4  #: significant ones of a drawn number, so that it can be typed
PATIENCE = 10_000  #: points in a row that were there before: then there are no others


@dataclass(frozen=True)
class Range:
    """Where one parameter may lie: ``choices``, or else from ``low`` to ``high``.

    Attributes:
        name: of the parameter.
        low, high: ends, both possible; its logarithm is uniform in between.
        whole: whether only whole numbers are.
        choices: as JSON values, each as likely as any other.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    choices: tuple[Any, ...] = ()

    def at(self, u: float) -> Any:
        """The value at a place from 0 to below 1."""
        if self.choices:
            return self.choices[int(u * len(self.choices))]
        if self.whole:  # k is as likely as the part from k to k + 1
            drawn = math.floor(self.low * ((self.high + 1) / self.low) ** u + FINE)
            return int(min(max(drawn, self.low), self.high))
        drawn = float(f"{self.low * (self.high / self.low) ** u:.{DIGITS}g}")
        return min(max(drawn, float(self.low)), float(self.high))

    def holds(self, value: Any) -> bool:
        """Whether a value lies in it."""
        if self.choices:
            return json.dumps(value) in {json.dumps(c) for c in self.choices}
        kinds = (int,) if self.whole else (int, float)
        return type(value) in kinds and self.low <= value <= self.high

    @property
    def about(self) -> dict[str, Any]:
        """As JSON."""
        if self.choices:
            return {"choices": list(self.choices)}
        return {"low": self.low, "high": self.high, "whole": self.whole}

    def __str__(self) -> str:
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        return f"{self.low:g} to {self.high:g}" + (", whole" if self.whole else ", log")


def space_of(schema: Mapping[str, Any], fixed: Iterable[str] = ()) -> tuple[Range, ...]:
    """The declared ranges of a plugin's parameters, in the order of their names.

    Args:
        schema: JSON schema of the parameters.
        fixed: names that are not searched.
    """
    left_out = {*fixed}
    fields = schema.get("properties", {})
    return tuple(
        _range(name, fields[name])
        for name in sorted(fields)
        if "search" in fields[name] and name not in left_out
    )


def _range(name: str, field: Mapping[str, Any]) -> Range:
    said = field["search"]
    if "choices" in said:
        return Range(name, choices=tuple(said["choices"]))
    kinds = {field.get("type"), *(one.get("type") for one in field.get("anyOf", ()))}
    whole = "integer" in kinds and "number" not in kinds
    return Range(name, low=said["low"], high=said["high"], whole=whole)


def check_ranges(schema: Mapping[str, Any]) -> None:
    """Every value of every range must be one that the parameter takes.

    Raises:
        ValueError: naming the parameter, if one is not.
    """
    import jsonschema

    space = space_of(schema)
    if len(space) > len(PRIMES):
        raise ValueError(f"{len(space)} parameters have search ranges, at most {len(PRIMES)} may")
    for one in space:
        field = {**schema["properties"][one.name], "$defs": schema.get("$defs", {})}
        if not one.choices and "multipleOf" in field:
            raise ValueError(f"parameter {one.name}: search a multiple by among(...)")
        for value in one.choices or (one.low, one.high):
            for error in jsonschema.Draft202012Validator(field).iter_errors(value):
                raise ValueError(f"parameter {one.name}: search range: {error.message}")


def points(
    space: tuple[Range, ...], start: Mapping[str, Any], *parts: object
) -> Iterator[dict[str, Any]]:
    """The points of a search, all different: ``start``, then those of a scrambled Halton
    sequence. It ends where a space of few values has no others.

    Args:
        space: at least one range.
        start: value of each parameter at the first point; it may lie outside its range.
        parts: seeds and names that determine the sequence.
    """
    first = {one.name: start[one.name] for one in space}
    seen = {json.dumps(first)}
    yield first
    scrambles = [
        _scramble(base, *parts, one.name) for one, base in zip(space, PRIMES, strict=False)
    ]
    number, misses = 0, 0
    while misses < PATIENCE:
        drawn = {
            one.name: one.at(_place(number, s)) for one, s in zip(space, scrambles, strict=True)
        }
        number += 1
        text = json.dumps(drawn)
        misses = misses + 1 if text in seen else 0
        if text not in seen:
            seen.add(text)
            yield drawn


def _scramble(base: int, *parts: object) -> list[list[int]]:
    """An order of the digits for each place behind the point.

    By hashes, so that no release of any library draws other points.
    """
    places = math.ceil(-math.log(FINE) / math.log(base))
    return [
        sorted(range(base), key=lambda digit: derive_seed("tune", *parts, place, digit))
        for place in range(places)
    ]


def _place(number: int, scramble: list[list[int]]) -> float:
    """The number's digits mirrored at the point, each in its place's order (Halton 1960)."""
    base = len(scramble[0])
    value, weight = 0.0, 1.0
    for order in scramble:
        number, digit = divmod(number, base)
        weight /= base
        value += weight * order[digit]
    return min(value, 1.0 - FINE)
