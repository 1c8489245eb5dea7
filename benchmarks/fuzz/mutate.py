"""Damage to bytes, the same for the same random numbers on every version of Python.

Of ``random.Random`` only ``random()`` is used, whose sequence Python promises to keep.
"""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

GROWTH = 2**16  #: bytes that a damaged file may have beyond four times its seed

#: What is put in the place of a number in a text.
NUMBERS = (
    b"0", b"1", b"-1", b"-0", b"255", b"256", b"2147483647", b"-2147483648", b"4294967296",
    b"9223372036854775807", b"9223372036854775808", b"18446744073709551615", b"1e9", b"1e308",
    b"1e400", b"-1e400", b"1e-400", b"1E5000", b".5", b"5.", b"1_0", b"+1", b"007", b"NaN", b"nan",
    b"Infinity", b"-inf", b"0x10", b"\xd9\xa3", b"\xc2\xb2", b"9" * 30, b"9" * 400, b"9" * 5000,
    b"0." + b"3" * 5000, b"0x" + b"f" * 4000, b"true", b"null", b'"1"', b"[1]", b"",
    b"[" * 3000, b"2L", b"True", b"1, " * 70, b"0xffff", b"1979-05-27",
)  # fmt: skip

#: What is put anywhere into a text: brackets, ends, signs that split, and what is no text.
SIGNS = (
    b" ", b"\n", b"\r", b"\r\n", b"\t", b"\0", b",", b";", b":", b".", b"..", b"../", b"/", b"\\",
    b"-", b"_", b"#", b"=", b"[", b"]", b"[]", b"{", b"}", b"{}", b"(", b")", b"<", b">", b"&",
    b'"', b'"""', b"'", b"%", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3\xa9", b"\xe2\x80\xa8",
    b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\\ud800", b"\\u0000", b"[" * 3000, b'{"a":' * 3000,
    b"(" * 300, b"\n" * 3000, b"a" * 5000, b"<!DOCTYPE a>", b"\x1b[31m",
)  # fmt: skip

_VALUES = (0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
#: Sizes and places as binary formats write them.
FIELDS = tuple(
    struct.pack(form, value & (2 ** (8 * struct.calcsize(form)) - 1))
    for value in _VALUES
    for form in ("<B", "<H", ">H", "<I", ">I", "<Q", ">Q")
)

#: Names that formats know, beside those of the seeds.
NAMES = (
    b"true", b"nan", b"null", b"O", b"f8", b"f2", b"c16", b"U8", b"BF16", b"F8_E4M3", b"id",
    b"name", b"shape", b"rule", b"label", b"__class__", b"begin", b"end", b"root", b"x" * 300,
)  # fmt: skip

_NUMBER = re.compile(rb"[+-]?\d[\d.]*(?:[eE][+-]?\d+)?")
_NAME = re.compile(rb"[A-Za-z_][A-Za-z_0-9]*")
_LENGTHS = (1, 1, 2, 4, 8, 8, 30, 100, 1000)


class Seed(NamedTuple):
    """A small valid file, or a part of one.

    Attributes:
        data: what is damaged.
        pack: makes the file of it, with right checksums, so that what lies deeper is reached.
        hot: where most of the damage goes, as starts and ends; everywhere if empty.
    """

    data: bytes
    pack: Callable[[bytes], bytes] = bytes
    hot: tuple[tuple[int, int], ...] = ()


class Chance:
    """Random numbers of one input.

    Args:
        name: seeds them; equal names give equal numbers.
    """

    def __init__(self, name: str) -> None:
        self.random = random.Random(name).random

    def below(self, count: int) -> int:
        """A whole number from 0 to ``count`` - 1."""
        return int(self.random() * count)

    def of(self, values: Sequence[bytes]) -> bytes:
        """One of these."""
        return values[self.below(len(values))]


def made(name: str, number: int, seeds: Sequence[Seed], campaign: int = 0) -> bytes:
    """Input ``number`` of a target, a damaged file.

    Args:
        name: of the target.
        number: from 0.
        seeds: its valid files.
        campaign: seed of the whole campaign.
    """
    chance = Chance(f"{campaign} {name} {number}")
    seed = seeds[chance.below(len(seeds))]
    other = seeds[chance.below(len(seeds))]
    return seed.pack(mutated(seed.data, other.data, chance, seed.hot))


def mutated(
    data: bytes, other: bytes, chance: Chance, hot: Sequence[tuple[int, int]] = ()
) -> bytes:
    """The data with one to eight mutations, more often few.

    Args:
        data: of a valid file.
        other: of another one, for splices.
        chance: decides everything.
        hot: as in ``Seed``.
    """
    most = 4 * len(data) + GROWTH
    for _ in range(1 + int(8 * chance.random() ** 3)):
        change = MUTATIONS[chance.below(len(MUTATIONS))]
        data = change(data, _place(len(data), hot, chance), other, chance)[:most]
    return data


def _place(size: int, hot: Sequence[tuple[int, int]], chance: Chance) -> int:
    """Where to damage: the places keep their numbers, whatever was put in before them."""
    if hot and chance.random() < 0.9:
        start, end = hot[chance.below(len(hot))]
        return min(size, start + chance.below(end - start))
    return chance.below(size + 1)


def _end(start: int, size: int, chance: Chance) -> int:
    """The end of a piece that starts there, mostly a short one."""
    return min(size, start + _LENGTHS[chance.below(len(_LENGTHS))])


# --- The mutations ---------------------------------------------------------------------------


def flip(data: bytes, at: int, other: bytes, chance: Chance) -> bytes:
    """One bit is another."""
    if at >= len(data):
        return data + b"\0"
    return data[:at] + bytes([data[at] ^ (1 << chance.below(8))]) + data[at + 1 :]


def put(data: bytes, at: int, other: bytes, chance: Chance) -> bytes:
    """One byte is any other."""
    return data[:at] + bytes([chance.below(256)]) + data[at + 1 :]


def overwrite(data: bytes, at: int, other: bytes, chance: Chance) -> bytes:
    """A size or a place is another; nothing moves."""
    field = chance.of(FIELDS)
    return data[:at] + field + data[at + len(field) :]


def insert(data: bytes, at: int, other: bytes, chance: Chance) -> bytes:
    """A sign, a number or a size is put in."""
    piece = chance.of((SIGNS, NUMBERS, FIELDS)[chance.below(3)])
    return data[:at] + piece + data[at:]


def replace(data: bytes, at: int, other: bytes, chance: Chance) -> bytes:
    """The next number in the text is another."""
    found = _NUMBER.search(data, at) or _NUMBER.search(data)
    if found is None:
        return insert(data, at, other, chance)
    return data[: found.start()] + chance.of(NUMBERS) + data[found.end() :]


def rename(data: bytes, at: int, other: bytes, chance: Chance) -> bytes:
    """The next name in the text is another, mostly one of the same format."""
    found = _NAME.search(data, at) or _NAME.search(data)
    if found is None:
        return insert(data, at, other, chance)
    given = _NAME.search(other, chance.below(len(other) + 1))
    name = chance.of(NAMES) if given is None or chance.random() < 0.3 else given[0]
    return data[: found.start()] + name + data[found.end() :]


def cut(data: bytes, at: int, other: bytes, chance: Chance) -> bytes:
    """A piece is missing."""
    return data[:at] + data[_end(at, len(data), chance) :]


def truncate(data: bytes, at: int, other: bytes, chance: Chance) -> bytes:
    """The end is missing."""
    return data[:at]


def repeat(data: bytes, at: int, other: bytes, chance: Chance) -> bytes:
    """A piece stands there several times."""
    end = _end(at, len(data), chance)
    times = (2, 2, 3, 20)[chance.below(4)]
    return data[:at] + data[at:end] * times + data[end:]


def splice(data: bytes, at: int, other: bytes, chance: Chance) -> bytes:
    """A piece of another file stands there, or all of its end."""
    start = chance.below(len(other) + 1)
    if chance.random() < 0.3:
        return data[:at] + other[start:]
    end = _end(start, len(other), chance)
    return data[:at] + other[start:end] + data[_end(at, len(data), chance) :]


def swap(data: bytes, at: int, other: bytes, chance: Chance) -> bytes:
    """Two pieces have changed places."""
    first, second = sorted((at, chance.below(len(data) + 1)))
    middle = _end(first, second, chance)
    end = _end(second, len(data), chance)
    return data[:first] + data[second:end] + data[middle:second] + data[first:middle] + data[end:]


MUTATIONS = (
    flip, put, overwrite, insert, replace, replace, rename, cut, truncate, repeat, splice, swap,
)  # fmt: skip
