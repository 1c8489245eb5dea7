"""The search ranges of a method's parameters, and the points of a search in their order.

Points do not depend on the results of others: trial k of a search is the same for every budget
above k. A larger budget thus continues a smaller one, and searches of equal budget are equal.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zsar_bench.common.hashing import derive_seed

PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29)  #: bases of the Halton sequence, one per parameter
FINE = 1e-9  #: resolution of a place in [0, 1)
DIGITS = 4  #: significant digits of a drawn number, so that it can be typed
MAX_REPEATS = 10_000  #: repeated points in a row after which the space counts as exhausted


@dataclass(frozen=True)
class Range:
    """The range of one parameter: ``choices``, or else from ``low`` to ``high``.

    Attributes:
        name: of the parameter.
        low, high: inclusive ends; the logarithm of the value is uniform between them.
        whole: whether only integers are possible.
        choices: as JSON values, all with the same probability.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    choices: tuple[Any, ...] = ()

    def at(self, u: float) -> Any:
        """The value at a place in [0, 1)."""
        if self.choices:
            return self.choices[int(u * len(self.choices))]
        if self.whole:  # k has the probability of the interval from k to k + 1
            drawn = math.floor(self.low * ((self.high + 1) / self.low) ** u + FINE)
            return int(min(max(drawn, self.low), self.high))
        drawn = float(f"{self.low * (self.high / self.low) ** u:.{DIGITS}g}")
        return min(max(drawn, float(self.low)), float(self.high))

    def holds(self, value: Any) -> bool:
        """Whether a value lies in the range."""
        if self.choices:
            return json.dumps(value) in {json.dumps(c) for c in self.choices}
        kinds = (int,) if self.whole else (int, float)
        return type(value) in kinds and self.low <= value <= self.high

    @property
    def as_json(self) -> dict[str, Any]:
        """The range as JSON values."""
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
    search = field["search"]
    if "choices" in search:
        return Range(name, choices=tuple(search["choices"]))
    kinds = {field.get("type"), *(option.get("type") for option in field.get("anyOf", ()))}
    whole = "integer" in kinds and "number" not in kinds
    return Range(name, low=search["low"], high=search["high"], whole=whole)


def check_ranges(schema: Mapping[str, Any]) -> None:
    """Check that the parameter accepts every value of its range.

    Raises:
        ValueError: naming the parameter, if it does not.
    """
    import jsonschema

    space = space_of(schema)
    if len(space) > len(PRIMES):
        raise ValueError(f"{len(space)} parameters have search ranges, at most {len(PRIMES)} may")
    for range_ in space:
        field = {**schema["properties"][range_.name], "$defs": schema.get("$defs", {})}
        if not range_.choices and "multipleOf" in field:
            raise ValueError(f"parameter {range_.name}: search a multiple by among(...)")
        for value in range_.choices or (range_.low, range_.high):
            for error in jsonschema.Draft202012Validator(field).iter_errors(value):
                raise ValueError(f"parameter {range_.name}: search range: {error.message}")


def points(
    space: tuple[Range, ...], start: Mapping[str, Any], *parts: object
) -> Iterator[dict[str, Any]]:
    """The points of a search, all different: ``start``, then a scrambled Halton sequence.

    The sequence ends when a finite space is exhausted.

    Args:
        space: at least one range.
        start: value of each parameter at the first point; it may lie outside its range.
        parts: seeds and names that determine the sequence.
    """
    first = {r.name: start[r.name] for r in space}
    seen = {json.dumps(first)}
    yield first
    scrambles = [_scramble(base, *parts, r.name) for r, base in zip(space, PRIMES, strict=False)]
    number, misses = 0, 0
    while misses < MAX_REPEATS:
        drawn = {r.name: r.at(_place(number, s)) for r, s in zip(space, scrambles, strict=True)}
        number += 1
        text = json.dumps(drawn)
        misses = misses + 1 if text in seen else 0
        if text not in seen:
            seen.add(text)
            yield drawn


def _scramble(base: int, *parts: object) -> list[list[int]]:
    """A permutation of the digits for each place after the point.

    Computed by hashes, so that the points do not depend on the version of any library.
    """
    places = math.ceil(-math.log(FINE) / math.log(base))
    return [
        sorted(range(base), key=lambda digit: derive_seed("tune", *parts, place, digit))
        for place in range(places)
    ]


def _place(number: int, scramble: list[list[int]]) -> float:
    """The number's digits mirrored at the point and permuted (Halton 1960)."""
    base = len(scramble[0])
    value, weight = 0.0, 1.0
    for order in scramble:
        number, digit = divmod(number, base)
        weight /= base
        value += weight * order[digit]
    return min(value, 1.0 - FINE)
