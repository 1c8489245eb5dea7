"""Orders made from content: the same everywhere, and blind to where things stood."""

from __future__ import annotations

import hashlib

from zsar_bench.common.hashing import content_order

THINGS = [f"thing {n}".encode() for n in range(40)]


def test_it_sorts_by_salted_hash() -> None:
    slow = sorted(THINGS, key=lambda t: hashlib.sha256(b"run/half-1" + t).digest())
    assert [THINGS[i] for i in content_order(THINGS, "run", "half-1")] == slow


def test_where_things_stood_has_no_part_in_it() -> None:
    backwards = THINGS[::-1]
    one = [THINGS[i] for i in content_order(THINGS, 1)]
    assert one == [backwards[i] for i in content_order(backwards, 1)]
    assert one != THINGS


def test_another_salt_is_another_order() -> None:
    orders = {tuple(content_order(THINGS, "salt", n).tolist()) for n in range(20)}
    assert len(orders) == 20
    assert all(sorted(order) == list(range(40)) for order in orders)
