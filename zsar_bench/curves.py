"""Dose and response: how a method's accuracy changes as a protocol's dial is turned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]


def base_of(protocol: str) -> str:
    """The protocol's id without its dials: ``p`` of ``p[seen=30]``."""
    return protocol.partition("[")[0]


def curves(sections: Sequence[Json]) -> list[Json]:
    """One curve a protocol, dial and row of it, from the sections that ``compare`` made.

    A section whose dials differ from another's in one dial alone is a point of the same curve.
    The protocol with no dial turned is the point at the dial's default where that is known, so
    it is not used: a curve shows what was run with the dial named.

    Returns:
        ``{"protocol", "dial", "others", "row", "points"}`` with ``points`` as
        ``{"value", "micro", "macro", "low", "high", "chance"}`` by rising value. ``low`` and
        ``high`` are None where there is no interval.
    """
    found: dict[tuple[Any, ...], list[tuple[float, Json, Json]]] = {}
    for section in sections:
        for dial, value in section["dials"].items():
            others = tuple(sorted((k, v) for k, v in section["dials"].items() if k != dial))
            for row in section["rows"]:
                about = (row["method"], row["variant"], row["encoder"], row["texts"])
                kind = (section["setting"], section["origin"], section["oracle"])
                key = (base_of(section["protocol"]), dial, others, *kind, *about)
                found.setdefault(key, []).append((value, section, row))
    out = []
    for key, points in sorted(found.items(), key=lambda item: repr(item[0])):
        if len({value for value, _, _ in points}) < 2:
            continue
        method, variant, _, texts = key[-4:]
        out.append(
            {
                "protocol": key[0],
                "dial": key[1],
                "others": dict(key[2]),
                "row": f"{method} ({variant})" if variant else method,
                "texts": texts,
                "points": [
                    _point(value, section, row)
                    for value, section, row in sorted(points, key=lambda p: p[0])
                ],
            }
        )
    return out


def _point(value: float, section: Json, row: Json) -> Json:
    interval = row["interval"]
    return {
        "value": value,
        "micro": row["micro"],
        "macro": row["macro"],
        "low": interval["low"] if interval else None,
        "high": interval["high"] if interval else None,
        "chance": section["chance"],
        "seeds": row["seeds"],
    }
