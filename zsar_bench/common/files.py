"""Folders on this machine, and atomic writes: to a temporary name first, then renamed."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import tomllib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from zsar_bench.errors import RunFailed, StorageError, UserError

DEFAULT_RESULTS = Path("results")  #: where runs are stored by default
WORK = "work"  #: folder of results that holds the stages of unfinished runs
NOT_FOR_PLUGINS = ("runs", "dev", WORK)  #: folders of results that no plugin may read
LOOK = 0.05  #: seconds between two tries to take a lock


def home() -> Path:
    """Prepared data and caches: ``ZSAR_BENCH_HOME``, or the platform's cache folder."""
    configured = os.environ.get("ZSAR_BENCH_HOME")
    if configured:
        return Path(configured).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("zsar-bench", appauthor=False))


def make_folder(path: Path) -> Path:
    """Create a folder and its parents.

    Raises:
        UserError: if that cannot be done.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"Cannot create the folder {path}: {error.strerror or error}.",
            "Choose another with ZSAR_BENCH_HOME (prepared data) or --results (runs).",
        ) from None
    return path


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failed write into an error that names the file.

    Raises:
        StorageError: instead of an ``OSError``, or of the error that safetensors makes of it.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"Cannot write {path}: {error.strerror or error}.") from None
    except Exception as error:
        if "os error" not in str(error):  # safetensors' own class, which is slow to import
            raise
        raise StorageError(f"Cannot write {path}: {error}.") from None


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file completely or not at all: to a temporary name first, then renamed."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with beside.open("wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise StorageError(f"Cannot write {path}: {error.strerror or error}.") from None


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, completely or not at all."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        UserError: naming the file, if it is missing or damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"The file {path} is damaged: {error}.") from None


@contextmanager
def fresh_folder(final: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``final`` if the block succeeds, and is deleted otherwise.

    If another process has created ``final`` meanwhile, that one is kept.
    """
    make_folder(final.parent)
    _sweep(final)
    beside = final.parent / f".{final.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part"
    make_folder(beside)
    try:
        yield beside
        rename_folder(beside, final)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _sweep(final: Path) -> None:
    """Remove temporary folders of ``final`` that killed processes have left."""
    for folder in final.parent.glob(f".{final.name}.*.part"):
        pid = folder.name.removeprefix(f".{final.name}.").partition(".")[0]
        if pid.isdecimal() and not _alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's process, or no valid pid: count it as alive
        pass
    return True


def rename_folder(beside: Path, final: Path) -> None:
    """Give a complete folder its final name; an existing one is kept.

    Incomplete temporary files in it, left by a killed process, are deleted.
    """
    for file in beside.glob(f".?*.{'[0-9a-f]' * 8}"):
        if file.is_file():
            file.unlink(missing_ok=True)
    try:
        os.rename(beside, final)
    except OSError as error:
        if not final.is_dir():
            raise StorageError(f"Cannot write {final}: {error.strerror or error}.") from None


def discard(folder: Path) -> None:
    """Delete a folder. It is renamed first, so an interrupted deletion leaves no partial folder."""
    gone = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.gone")
    try:
        folder.rename(gone)
        shutil.rmtree(gone)
    except OSError as error:
        raise UserError(f"Cannot delete {folder}: {error.strerror or error}.") from None


@contextmanager
def locked(
    folder: Path, on_wait: Callable[[], None] | None = None, *, shared: bool = False
) -> Iterator[None]:
    """Lock a folder, creating it if needed; other threads and processes wait.

    The lock of a process that ended is free. A holder may delete the folder; the next holder then
    gets a new one.

    Args:
        folder: to be locked.
        on_wait: called before waiting; an exception that it raises ends the wait.
        shared: whether others may hold it shared as well; such a holder changes nothing.
    """
    with _lock(folder, on_wait, shared):
        yield


def _lock(folder: Path, on_wait: Callable[[], None] | None, shared: bool) -> IO[str]:
    import fcntl

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        make_folder(folder)
        try:
            file = (folder / ".lock").open("w")
        except FileNotFoundError:  # deleted after make_folder
            continue
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if on_wait is not None:
                on_wait()
            _wait(file, kind)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # deleted while we waited


def _wait(file: IO[str], kind: int) -> None:
    """Wait for the lock by polling: a blocking ``flock`` would not notice ``stopping``."""
    import fcntl

    while True:
        if stopping.wait(LOOK):
            raise RunFailed("interrupted")
        with suppress(BlockingIOError):
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return


_INT_LIMIT = 2**63  #: of integers; TOML guarantees 64 bits


_LONG_NUMBER = re.compile(r"[0-9A-Fa-f_]{15}")


def parse_toml(text: str) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        ValueError: for text that is not TOML, is nested too deeply, or holds integers of more than
            64 bits: written in hexadecimal they may be too large for Python to print.
    """
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if _LONG_NUMBER.search(text):
        _check_numbers(data)
    return data


def _check_numbers(data: dict[str, Any]) -> None:
    pending: list[Any] = [data]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, int) and not -_INT_LIMIT <= value < _INT_LIMIT:
            raise ValueError("it holds a number of more than 64 bits")


#: Set once, when the command is interrupted; every wait then ends.
stopping = threading.Event()
