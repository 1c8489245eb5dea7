"""Seals: what is stored is what was written, or it is found out.

    <folder>/seal.json    {"seal": {"deep", "files": {name: [bytes, SHA-256]}, "format"}, "sha256"}
    <file>                a magic line, a SHA-256, and behind them the content

A seal is against faults: a bit that flipped, a file that was cut, emptied, swapped, lost or put
there. It is none against people, who can seal again what they have changed.
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
#: Seconds after which a file's stamp tells one content from the next; stamps tick more coarsely
#: than programs write.
_SETTLED = 2.0
_SMALL = 2**20  #: bytes of a file that is read in one go, which is quicker

_Mark = tuple[int, int, int, int]
_digests: dict[str, tuple[_Mark, str]] = {}
_tables: dict[str, tuple[bytes, Table]] = {}


class Damaged(UserError):
    """A stored file that is not as it was written; ``what`` names it."""


@dataclass(frozen=True)
class Table:
    """What a seal says.

    Attributes:
        files: name, with ``/`` between folders -> bytes and SHA-256.
        deep: whether files in folders below are among them.
    """

    files: dict[str, tuple[int, str]]
    deep: bool


# --- Folders -------------------------------------------------------------------------------------


def seal(folder: Path, deep: bool = True) -> None:
    """Write ``seal.json`` over every file of a finished folder but itself and hidden ones.

    Args:
        folder: nobody writes into it any more.
        deep: whether folders below are covered; where not, they have seals of their own.

    Raises:
        UserError: if a file cannot be read or the seal not be written.
    """
    files = {}
    for name in sorted(_names(folder, deep)):
        path = folder / name
        try:
            files[name] = _facts(str(path))
        except OSError as error:
            raise UserError(f"Cannot read {path}: {error.strerror or error}.") from None
    write_bytes(folder / SEAL, _rendered(Table(files, deep)))


def sealed(folder: Path) -> bool:
    """Whether a folder has a seal, broken or not."""
    return (folder / SEAL).exists()


def broken(folder: Path, names: Iterable[str] | None = None, added: bool = True) -> list[str]:
    """Names of files that are missing, added, cut or changed since the folder was sealed.

    A file is read the first time that a process asks, and again only if its size, stamps or
    inode have changed.

    Args:
        folder: a sealed one; where ``seal.json`` is missing or damaged, it is the only name.
        names: look at these files only; a name that was not sealed is broken.
        added: whether files that were not there count.
    """
    try:
        table = _read_table(folder)
    except (OSError, ValueError):
        return [SEAL]
    wanted = table.files if names is None else names
    found = [name for name in wanted if not _holds(f"{folder}/{name}", table.files.get(name))]
    if names is None and added:
        found += sorted(set(_names(folder, table.deep)) - table.files.keys())
    return found


def check(
    folder: Path, names: Iterable[str] | None = None, hint: str = "", added: bool = True
) -> None:
    """Refuse a folder that is not as it was sealed; arguments as of ``broken``.

    Raises:
        Damaged: naming the first file, and how many more there are.
    """
    found = broken(folder, names, added)
    if found:
        more = f" (and {len(found) - 1} more files beside it)" if len(found) > 1 else ""
        raise Damaged(f"{folder / found[0]} is damaged: {_how(folder, found[0])}{more}.", hint)


def digest_of(path: Path) -> str:
    """SHA-256 of a file's bytes; remembered while its size, stamps and inode stay the same.

    Raises:
        OSError: if it cannot be read, or is no file.
    """
    return _facts(str(path))[1]


# --- Single files --------------------------------------------------------------------------------


def write_sealed(path: Path, payload: bytes, owner: str = "") -> None:
    """Write a file that tells on itself if it is damaged, or another is put in its place.

    The seal covers the file's name too, so a sealed file is not to be renamed.

    Args:
        path: where; whole or not at all.
        payload: its content.
        owner: what the content belongs to, such as a key; needed again to read it. It tells
            files of one name in different folders apart.
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
    """The content of a sealed file that must be there.

    Raises:
        Damaged: naming the file, as ``read_sealed``, and if it is missing.
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
    """Names of all files that a seal covers. A link is a file, wherever it leads."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = before + entry.name
            if entry.name.startswith(".") or name == SEAL:
                continue
            if not entry.is_dir(follow_symlinks=False):
                yield name
            elif deep:
                yield from _names(Path(entry.path), deep, f"{name}/")


def _facts(name: str) -> tuple[int, str]:
    """Bytes and SHA-256 of a file."""
    about = os.stat(name)
    known = _digests.get(name)
    if known is not None and known[0] == _mark(about):
        return about.st_size, known[1]
    if not stat.S_ISREG(about.st_mode):  # nor wait until somebody writes into a pipe
        raise OSError(f"{name} is no file")
    with open(name, "rb") as file:
        about = os.fstat(file.fileno())
        if about.st_size <= _SMALL:
            digest = hashlib.sha256(file.read()).hexdigest()
        else:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    # A file of just now could change once more without another stamp.
    if time.time() - about.st_mtime > _SETTLED and _mark(about) == _mark(after):
        _digests[name] = (_mark(about), digest)
    return about.st_size, digest


def _holds(path: str, row: tuple[int, str] | None) -> bool:
    try:
        return row is not None and _facts(path) == row
    except (OSError, ValueError):
        return False


def _how(folder: Path, name: str) -> str:
    """What is wrong with a broken file, in words."""
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


def _mark(about: os.stat_result) -> _Mark:
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino
