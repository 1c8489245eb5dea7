"""Raw files as a flat list of named byte strings, from a folder or a zip archive.

Nothing is ever extracted to disk, so an archive cannot write outside its target; an entry is
read only up to a fixed size, so it cannot expand without bound.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from zsar_bench.errors import DataError, UserError

LARGEST_FILE = 256 * 2**20  #: bytes; no raw clip of any known data set comes near


class RawFiles:
    """The files below a folder, or inside a zip archive.

    Attributes:
        names: relative, ``/``-separated, sorted.

    Raises:
        UserError: if the path does not exist or is neither.
    """

    def __init__(self, source: Path) -> None:
        source = source.expanduser()
        if source.is_dir():
            self.names = sorted(
                p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()
            )
            self._read: Callable[[str], bytes] = lambda name: _read_file(source / name)
        elif source.is_file():
            archive = _open_zip(source)
            self.names = sorted(n for n in archive.namelist() if not n.endswith("/"))
            self._read = lambda name: _read_entry(archive, name)
        else:
            raise UserError(f"There is no file or folder {source}.")

    def read(self, name: str) -> bytes:
        """The bytes of one file.

        Raises:
            DataError: if it cannot be read whole.
        """
        return self._read(name)


def _read_file(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(f"larger than {LARGEST_FILE >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise DataError(error.strerror or str(error)) from None


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(
            f"{path} is not a readable zip archive: {error}.",
            "Download it again, or unpack it and give the folder.",
        ) from None


def _read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        if archive.getinfo(name).file_size > LARGEST_FILE:
            raise DataError(f"larger than {LARGEST_FILE >> 20} MiB")
        with archive.open(name) as entry:
            data = entry.read(LARGEST_FILE + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise DataError(f"the archive is damaged here ({error})") from None
    except NotImplementedError as error:
        raise DataError(f"the archive uses an unsupported compression ({error})") from None
    if len(data) > LARGEST_FILE:
        raise DataError(f"larger than {LARGEST_FILE >> 20} MiB")
    return data
