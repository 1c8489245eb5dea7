"""Raw files as a flat list of named byte strings, from a folder or a zip archive.

Nothing is extracted to disk, so an archive cannot write outside its target. An entry is read only
up to a fixed size, so it cannot expand without bound.
"""

from __future__ import annotations

import io
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from zsar_bench.errors import DataError, UserError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LARGEST_FILE = 256 * 2**20  #: bytes; raw clips of all known data sets are far smaller
ENCRYPTED = 1  #: flag of an entry
#: Errors that unpacking a damaged entry raises.
DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, RuntimeError,
    ValueError,
)  # fmt: skip
LOCAL_HEADER = 30  #: bytes before an entry's name


class RawFiles:
    """The files below a folder, or inside a zip archive; or a single plain file.

    Args:
        source: folder, zip archive or file.
        plain: whether a file of this name is read as it is, even if it is an archive.

    Raises:
        UserError: if the path does not exist, is no folder or archive, or cannot be read.
    """

    def __init__(self, source: Path, plain: Callable[[str], bool] = lambda name: False) -> None:
        self.source = source.expanduser()
        self._archive: zipfile.ZipFile | None = None
        self._only = ""  # the one file's name
        if self.source.is_dir():
            return
        if self.source.is_file() and plain(self.source.name):
            self.source, self._only = self.source.parent, self.source.name
            return
        if not self.source.exists():
            raise UserError(f"There is no file or folder {source}.")
        self._archive = _open_zip(self.source)

    @cached_property
    def files(self) -> list[tuple[str, int, int]]:
        """``(name, size, stamp)`` of every file, by name.

        Names are relative and ``/``-separated; a name that an archive holds twice is listed twice.
        The stamp changes with the content: in a folder the time of change, in an archive a CRC.
        """
        if self._only:
            status = (self.source / self._only).stat()
            return [(self._only, status.st_size, status.st_mtime_ns)]
        if self._archive is None:
            return sorted(_walk(self.source))
        entries = self._archive.infolist()
        named = [e for e in entries if e.filename and not e.is_dir()]
        return sorted((e.filename, e.file_size, e.CRC) for e in named)

    @property
    def names(self) -> list[str]:
        """The names of ``files``."""
        return [name for name, _, _ in self.files]

    def encrypted(self, name: str) -> bool:
        """Whether a password is needed to read this file."""
        if self._archive is None:
            return False
        return bool(self._archive.getinfo(name).flag_bits & ENCRYPTED)

    @cached_property
    def _by_name(self) -> dict[str, tuple[str, int, int]]:
        return {row[0]: row for row in self.files}

    def about(self, name: str) -> tuple[str, int, int]:
        """Name, size and stamp of one file, as in ``files``.

        Raises:
            DataError: if there is no such file.
        """
        if name not in self._by_name:
            raise DataError(f"there is no file {name} beside it")
        return self._by_name[name]

    def size(self, name: str) -> int:
        """Bytes of one file, unpacked; a DataError if there is none."""
        return self.about(name)[1]

    def open(self, name: str) -> BinaryIO:
        """One file, seekable; a large file of an archive only if it is stored uncompressed.

        Raises:
            DataError: if it cannot be opened.
        """
        size = self.size(name)
        if self._archive is None:
            try:
                return (self.source / name).open("rb")
            except OSError as error:
                raise _unreadable(self.source / name, error) from None
        if size <= LARGEST_FILE:
            return io.BytesIO(self.read(name))
        entry = self._archive.getinfo(name)
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & ENCRYPTED:
            raise DataError(
                f"it is compressed and larger than {LARGEST_FILE >> 20} MiB",
                "Unpack the archive, and give the folder.",
            )
        try:
            return _stored(self.source, entry)
        except OSError as error:
            raise DataError(error.strerror or str(error)) from None

    def read(self, name: str) -> bytes:
        """The bytes of one file.

        Raises:
            DataError: if it cannot be read whole.
        """
        if self._archive is None:
            return _read_file(self.source / name)
        return _read_entry(self._archive, name)


def _stored(archive: Path, entry: zipfile.ZipInfo) -> BinaryIO:
    """An uncompressed entry as a file. zipfile's own file can seek, but some versions of it read
    everything before the position."""
    file = _at_entry(archive, entry)
    return cast("BinaryIO", io.BufferedReader(_Slice(file, file.tell(), entry.file_size)))


def _at_entry(archive: Path, entry: zipfile.ZipInfo) -> BinaryIO:
    """The archive, open where the packed bytes of an entry begin."""
    file = archive.open("rb")
    start = entry_start(file, entry)
    if start is None:
        file.close()
        raise DataError("the archive is damaged here (no entry where its list says)")
    file.seek(start)
    return file


def entry_start(archive: BinaryIO, entry: zipfile.ZipInfo) -> int | None:
    """Offset of an entry's packed bytes; None if the archive's directory leads to no entry."""
    archive.seek(entry.header_offset)
    head = archive.read(LOCAL_HEADER)
    if len(head) < LOCAL_HEADER or not head.startswith(b"PK\x03\x04"):
        return None
    name, extra = struct.unpack("<HH", head[-4:])  # lengths of the fields before the data
    return archive.tell() + int(name + extra)


class _Slice(io.RawIOBase):
    """Part of an open file; closing it closes the file."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self.file, self.start, self.size, self.at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        self.at = max(0, base + offset)
        return self.at

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        self.file.seek(self.start + self.at)
        data = self.file.read(max(0, min(len(view), self.size - self.at)))
        view[: len(data)] = data
        self.at += len(data)
        return len(data)

    def close(self) -> None:
        self.file.close()
        super().close()


def _walk(folder: Path) -> Iterator[tuple[str, int, int]]:
    def refuse(error: OSError) -> None:
        raise UserError(f"Cannot read the folder {error.filename}: {error.strerror}.") from None

    for where, _, names in os.walk(folder, onerror=refuse):
        inside = Path(where).relative_to(folder)
        for name in names:
            try:
                status = (Path(where) / name).stat()
            except OSError:  # a broken link; reading it as a clip fails later
                yield (inside / name).as_posix(), 0, 0
                continue
            if stat.S_ISREG(status.st_mode):
                yield (inside / name).as_posix(), status.st_size, status.st_mtime_ns


def _read_file(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(f"larger than {LARGEST_FILE >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> DataError:
    """Why a file cannot be read; workers may follow no link out of what they were given."""
    if isinstance(error, PermissionError) and path.is_symlink():
        return DataError(
            "it is a link that leaves the folder; put the file itself there, or give the folder "
            "that it leads to"
        )
    return DataError(error.strerror or str(error))


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(
            f"{path} is not a readable zip archive: {_why_no_zip(path, error)}.",
            "Download it again, or unpack it and give the folder.",
        ) from None


def _why_no_zip(path: Path, error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, zipfile.BadZipFile):
        return error.strerror or str(error)
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError:
        return str(error)
    if not start:
        return "it is empty"
    if start.startswith(b"PK\x03\x04") and "not a zip" in str(error):
        return "its end is missing, so it was not downloaded whole"
    kinds = {b"7z\xbc\xaf": "a 7z archive", b"Rar!": "a rar archive", b"\x1f\x8b": "a gzip file"}
    for magic, kind in kinds.items():
        if start.startswith(magic):
            return f"it is {kind}"
    return str(error)


def _read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    entry = archive.getinfo(name)
    if entry.flag_bits & ENCRYPTED:
        raise DataError("it is encrypted; unpack the archive with its password")
    if entry.file_size > LARGEST_FILE:
        raise DataError(f"larger than {LARGEST_FILE >> 20} MiB")
    try:
        _check_dictionary(archive, entry)
        with archive.open(name) as unpacked:
            data = unpacked.read(LARGEST_FILE + 1)
    # NotImplementedError is a RuntimeError, so it comes first.
    except NotImplementedError as error:
        raise DataError(f"the archive uses an unsupported compression ({error})") from None
    except DAMAGED as error:
        raise DataError(f"the archive is damaged here ({error})") from None
    if len(data) > LARGEST_FILE:
        raise DataError(f"larger than {LARGEST_FILE >> 20} MiB")
    return data


def _check_dictionary(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Refuse a small entry for which LZMA would allocate up to four gigabytes."""
    if entry.compress_type != zipfile.ZIP_LZMA or archive.filename is None:
        return
    with _at_entry(Path(archive.filename), entry) as packed:
        head = packed.read(9)  # version, length of the properties, literal bits, dictionary size
    if int.from_bytes(head[5:], "little") > LARGEST_FILE:
        raise DataError(
            f"unpacking it takes a dictionary of more than {LARGEST_FILE >> 20} MiB",
            "Unpack the archive with another program, and give the folder.",
        )
