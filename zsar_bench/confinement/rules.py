"""What a confined process may reach: whole paths only, and never above what is protected."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from zsar_bench.errors import UserError


@dataclass(frozen=True)
class Rules:
    """What stays reachable; everything else is refused.

    Attributes:
        read: files, or folders with all below: read, list, execute.
        names: folders below which names may be listed, contents not read.
        write: folders below which anything may be read, made and removed; device files.
        network: whether IPv4 and IPv6 are open; otherwise no socket of any family but pairs.
    """

    read: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    network: bool = False


def real(path: str) -> str:
    """The absolute path without links: what the kernel compares."""
    return os.path.realpath(os.path.expanduser(path))


def below(path: str, folder: str) -> bool:
    """Whether a real path is a folder or lies in it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def carve(path: str, protected: Iterable[str]) -> list[str]:
    """The largest paths below ``path`` that neither are, hold, nor lie in a protected path.

    Links inside are left out: the kernel asks where they lead, and that is allowed or not by
    itself. What does not exist, or cannot be listed, gives nothing.

    Args:
        path: a file or folder; it may be the only answer.
        protected: files and folders, which need not exist.

    Returns:
        Real paths, sorted.
    """
    return sorted(_carved(real(path), [real(p) for p in protected]))


def _carved(path: str, protected: list[str]) -> Iterator[str]:
    if not os.path.lexists(path) or any(below(path, p) for p in protected):
        return
    inside = [p for p in protected if below(p, path)]
    if not inside:
        yield path
        return
    try:
        entries = [e for e in os.scandir(path) if not e.is_symlink()]
    except OSError:
        return
    for entry in entries:
        yield from _carved(entry.path, inside)


def check(rules: Rules, protected: Iterable[str]) -> None:
    """Refuse rules that would open something protected.

    Raises:
        UserError: naming the allowed path that is, or is above, a protected one.
    """
    walls = [real(p) for p in protected]
    for path in (*rules.read, *rules.names, *rules.write):
        place = real(path)
        for wall in walls:
            if below(wall, place):
                held = "it is protected" if wall == place else f"it holds {wall}"
                raise UserError(
                    f"Plugin code would have to be given the folder {place}, but {held}.",
                    "Keep prepared data (ZSAR_BENCH_HOME), results (--results) and raw data"
                    " outside of it.",
                )
