"""Seals: checksum tables that show whether stored files are still as they were written.

    <folder>/seal.json    {"seal": {"deep", "files": {name: [bytes, SHA-256]}, "format"}, "sha256"}
    <file>                a magic line, a SHA-256, and behind them the content

A seal detects faults: flipped bits, and files that were cut, emptied, swapped, lost or added. It
does not protect against people, who can write a new seal after a change.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from zsar_bench.common.files import write_bytes
from zsar_bench.errors import UserError

SEAL = "seal.json"
FORMAT = 1  #: of seal.json
MAGIC = b"zsar-bench sealed file 1\n"
_HEAD = len(MAGIC) + 64 + 1  #: bytes before the content of a sealed file
#: Seconds after a write from which on a new write changes the file's stamp: clocks of file systems
#: tick more coarsely than programs write.
_SETTLED = 2.0
_SMALL = 2**20  #: bytes of a file that is read in one go, which is quicker

_Mark = tuple[int, int, int, int]
_digests: dict[str, tuple[_Mark, str]] = {}
_tables: dict[str, tuple[bytes, Table]] = {}


class Damaged(UserError):
    """A stored file that is not as it was written; ``what`` names it."""


@dataclass(frozen=True)
class Table:
    """The content of a seal.

    Attributes:
        files: name, with ``/`` between folders -> bytes and SHA-256.
        deep: whether files in folders below are among them.
    """

    files: dict[str, tuple[int, str]]
    deep: bool


# --- Folders -------------------------------------------------------------------------------------


def seal(folder: Path, deep: bool = True) -> None:
    """Write ``seal.json`` for every file of a finished folder except itself and hidden files.

    Args:
        folder: its files must not change any more.
        deep: whether subfolders are covered; if not, they have their own seals.

    Raises:
        UserError: if a file cannot be read or the seal cannot be written.
    """
    files = {}
    for name in sorted(_names(folder, deep)):
        path = folder / name
        try:
            files[name] = _size_and_digest(str(path))
        except OSError as error:
            raise UserError(f"Cannot read {path}: {error.strerror or error}.") from None
    write_bytes(folder / SEAL, _rendered(Table(files, deep)))


def sealed(folder: Path) -> bool:
    """Whether a folder has a seal, broken or not."""
    return (folder / SEAL).exists()


def broken(folder: Path, names: Iterable[str] | None = None, added: bool = True) -> list[str]:
    """Names of files that are missing, added, cut or changed since the folder was sealed.

    A process reads each file once, and again only if its size, stamps or inode have changed.

    Args:
        folder: a sealed folder; if ``seal.json`` is missing or damaged, only its name is returned.
        names: check these files only; a name that was not sealed is broken.
        added: whether added files count.
    """
    try:
        table = _read_table(folder)
    except (OSError, ValueError):
        return [SEAL]
    wanted = table.files if names is None else names
    damaged = [name for name in wanted if not _holds(f"{folder}/{name}", table.files.get(name))]
    if names is None and added:
        damaged += sorted(set(_names(folder, table.deep)) - table.files.keys())
    return damaged


def check(
    folder: Path, names: Iterable[str] | None = None, hint: str = "", added: bool = True
) -> None:
    """Refuse a folder that is not as it was sealed; arguments as of ``broken``.

    Raises:
        Damaged: naming the first file, and how many more there are.
    """
    damaged = broken(folder, names, added)
    if damaged:
        others = f" (and {len(damaged) - 1} others files beside it)" if len(damaged) > 1 else ""
        raise Damaged(
            f"{folder / damaged[0]} is damaged: {_fault(folder, damaged[0])}{others}.", hint
        )


def digest_of(path: Path) -> str:
    """SHA-256 of a file's bytes; remembered while its size, stamps and inode stay the same.

    Raises:
        OSError: if it cannot be read, or is no file.
    """
    return _size_and_digest(str(path))[1]


# --- Single files --------------------------------------------------------------------------------


def write_sealed(path: Path, payload: bytes, owner: str = "") -> None:
    """Write a file whose damage, or replacement by another file, is detected when it is read.

    The seal covers the file's name too, so a sealed file must not be renamed.

    Args:
        path: of the file, which is written completely or not at all.
        payload: the content.
        owner: what the content belongs to, such as a key; needed again to read it. It
            distinguishes files of the same name in different folders.
    """
    write_bytes(path, MAGIC + _digest(path, owner, payload).encode() + b"\n" + payload)


def read_sealed(path: Path, owner: str = "") -> bytes | None:
    """The content of a sealed file; None if there is no file.

    Raises:
        Damaged: naming the file, if it is not what was written under this name for this owner.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Damaged(f"Cannot read {path}: {error.strerror or error}.") from None
    payload = data[_HEAD:]
    if data[:_HEAD] != MAGIC + _digest(path, owner, payload).encode() + b"\n":
        raise Damaged(f"{path} is damaged: it is not what was written there.")
    return payload


def sealed_content(path: Path, owner: str = "") -> bytes:
    """The content of a sealed file that must exist.

    Raises:
        Damaged: naming the file, if it is missing or not what was written.
    """
    payload = read_sealed(path, owner)
    if payload is None:
        raise Damaged(f"{path} is missing.")
    return payload


def _digest(path: Path, owner: str, payload: bytes) -> str:
    total = hashlib.sha256(json.dumps([path.name, owner]).encode() + b"\n")
    total.update(payload)
    return total.hexdigest()


# --- Parts ---------------------------------------------------------------------------------------


def _names(folder: Path, deep: bool, before: str = "") -> Iterator[str]:
    """Names of all files that a seal covers. A link counts as a file."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = before + entry.name
            if entry.name.startswith(".") or name == SEAL:
                continue
            if not entry.is_dir(follow_symlinks=False):
                yield name
            elif deep:
                yield from _names(Path(entry.path), deep, f"{name}/")


def _size_and_digest(name: str) -> tuple[int, str]:
    """Bytes and SHA-256 of a file."""
    status = os.stat(name)
    known = _digests.get(name)
    if known is not None and known[0] == _mark(status):
        return status.st_size, known[1]
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for a writer
        raise OSError(f"{name} is no file")
    with open(name, "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_size <= _SMALL:
            digest = hashlib.sha256(file.read()).hexdigest()
        else:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    # A file that was just written could change again without a new stamp.
    if time.time() - status.st_mtime > _SETTLED and _mark(status) == _mark(after):
        _digests[name] = (_mark(status), digest)
    return status.st_size, digest


def _holds(path: str, row: tuple[int, str] | None) -> bool:
    try:
        return row is not None and _size_and_digest(path) == row
    except (OSError, ValueError):
        return False


def _fault(folder: Path, name: str) -> str:
    """What is wrong with a broken file, as text for a message."""
    if not (folder / name).exists():
        return "it is missing"
    try:
        known = name == SEAL or name in _read_table(folder).files
    except (OSError, ValueError):
        known = True
    return "it is not as it was written" if known else "it does not belong there"


def _rendered(table: Table) -> bytes:
    body = {"deep": table.deep, "files": table.files, "format": FORMAT}
    text = json.dumps(body, sort_keys=True)
    return f'{{"seal": {text}, "sha256": "{hashlib.sha256(text.encode()).hexdigest()}"}}\n'.encode()


def _read_table(folder: Path) -> Table:
    """The table of a seal.

    Raises:
        OSError, ValueError: if there is none, or a byte of it is not as ``seal`` writes it.
    """
    path = folder / SEAL
    data = path.read_bytes()
    known = _tables.get(str(path))
    if known is not None and known[0] == data:
        return known[1]
    try:
        body = json.loads(data)["seal"]
        files = {
            str(name): (int(size), str(value)) for name, (size, value) in body["files"].items()
        }
        table = Table(files, bool(body["deep"]))
    except (KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{path} is no seal") from None
    if _rendered(table) != data:
        raise ValueError(f"{path} is not as it was written")
    _tables[str(path)] = (data, table)
    return table


def _mark(status: os.stat_result) -> _Mark:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
