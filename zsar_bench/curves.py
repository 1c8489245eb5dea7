"""Dose and response: how a method's accuracy changes as a protocol's dial is turned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]


def base_of(protocol: str) -> str:
    """The protocol's id without its dials: ``p`` of ``p[seen=30]``."""
    return protocol.partition("[")[0]


def curves(sections: Sequence[Json], splits: Sequence[Json] = ()) -> list[Json]:
    """One curve a protocol, dial and row of it, from what ``compare`` made.

    A section whose dials differ from another's in one dial alone is a point of the same curve.
    The protocol with no dial turned is the point at the dial's default where that is known, so
    it is not used: a curve shows what was run with the dial named.

    Args:
        sections: of single protocols.
        splits: of several random splits each; their points are means over these splits, and a
            curve joins only points of equally many.

    Returns:
        ``{"protocol", "dial", "others", "splits", "row", "texts", "rule", "unranked",
        "points"}``: ``splits`` is how many random splits a point is the mean of (0: none, the
        protocol's own classes), and ``points`` are ``{"value", "micro", "macro", "low", "high",
        "chance"}`` by rising value. ``low`` and ``high`` are None where there is no interval.
    """
    found: dict[tuple[Any, ...], list[tuple[float, Json, Json]]] = {}
    for protocol, section in (
        *((base_of(s["protocol"]), s) for s in sections),
        *((s["family"], s) for s in splits),
    ):
        for dial, value in section["dials"].items():
            others = tuple(sorted((k, v) for k, v in section["dials"].items() if k != dial))
            for row in section["rows"]:
                about = (row["method"], row["variant"], row["encoder"], row["texts"], row["rule"])
                kind = (section["setting"], section["origin"], section["oracle"], row["unranked"])
                key = (protocol, dial, others, row.get("splits", 0), *kind, *about)
                found.setdefault(key, []).append((value, section, row))
    out = []
    for key, points in sorted(found.items(), key=lambda item: repr(item[0])):
        if len({value for value, _, _ in points}) < 2:
            continue
        apart, method, variant, _, texts, rule = key[-6:]
        out.append(
            {
                "protocol": key[0],
                "dial": key[1],
                "others": dict(key[2]),
                "splits": key[3],
                "row": f"{method} ({variant})" if variant else method,
                "texts": texts,
                "rule": rule,
                "unranked": apart,
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
    }
