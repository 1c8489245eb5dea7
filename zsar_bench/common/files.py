"""Where things live on this machine, and how they are written: beside, then renamed."""

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

DEFAULT_RESULTS = Path("results")  #: where runs are stored unless another place is named
LOOK = 0.05  #: seconds between two looks at a lock that somebody holds


def home() -> Path:
    """Prepared data and caches: ``ZSAR_BENCH_HOME``, or the platform's cache folder."""
    given = os.environ.get("ZSAR_BENCH_HOME")
    if given:
        return Path(given).expanduser().absolute()
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
    """Say which file it is about where the machine refuses a write.

    Raises:
        StorageError: in the place of an ``OSError``, and of what safetensors makes of one.
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
    """Write a whole file or nothing: beside it first, then renamed over it."""
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
    """Write JSON with sorted keys, whole or not at all."""
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
    """A temporary folder that becomes ``final`` if the block ends well, and else vanishes.

    If ``final`` appears meanwhile (another process was quicker), that one is kept.
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
    """Remove what processes that were killed have left beside ``final``."""
    for left in final.parent.glob(f".{final.name}.*.part"):
        pid = left.name.removeprefix(f".{final.name}.").partition(".")[0]
        if pid.isdecimal() and not _alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's, or no pid at all: not ours to judge
        pass
    return True


def rename_folder(beside: Path, final: Path) -> None:
    """Give a complete folder its final name; an existing one is kept.

    Files that a killed process had only begun, beside their names in it, are left out.
    """
    for left in beside.glob(f".?*.{'[0-9a-f]' * 8}"):
        if left.is_file():
            left.unlink(missing_ok=True)
    try:
        os.rename(beside, final)
    except OSError as error:
        if not final.is_dir():
            raise StorageError(f"Cannot write {final}: {error.strerror or error}.") from None


def discard(folder: Path) -> None:
    """Delete a folder. Killed half-way, it is gone all the same."""
    gone = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.gone")
    try:
        folder.rename(gone)
        shutil.rmtree(gone)
    except OSError as error:
        raise UserError(f"Cannot delete {folder}: {error.strerror or error}.") from None


@contextmanager
def locked(folder: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a folder, which is there from then on; other threads and processes wait.

    A dead holder holds nothing. A holder may delete the folder: who waited gets a new one.
    ``on_wait`` is called before a wait; what it raises ends it.
    """
    with _lock(folder, on_wait):
        yield


def _lock(folder: Path, on_wait: Callable[[], None] | None) -> IO[str]:
    import fcntl

    while True:
        make_folder(folder)
        try:
            file = (folder / ".lock").open("w")
        except FileNotFoundError:  # deleted since the line before
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if on_wait is not None:
                on_wait()
            _wait(file)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # deleted while we waited


def _wait(file: IO[str]) -> None:
    """Until the holder lets go; a wait in the kernel would not hear of an interrupt."""
    import fcntl

    while True:
        if stopping.wait(LOOK):
            raise RunFailed("interrupted")
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return


_MOST = 2**63  #: of a whole number; TOML promises 64 bits


_LONG = re.compile(r"[0-9A-Fa-f_]{15}")


def parse_toml(text: str) -> dict[str, Any]:
    """What a TOML file holds.

    Raises:
        ValueError: for what is no TOML, is nested too deeply, or holds whole numbers of more than
            64 bits: those written in hexadecimal may be so large that Python cannot show them.
    """
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if _LONG.search(text):
        _check_numbers(data)
    return data


def _check_numbers(data: dict[str, Any]) -> None:
    left: list[Any] = [data]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list):
            left += value
        elif isinstance(value, int) and not -_MOST <= value < _MOST:
            raise ValueError("it holds a number of more than 64 bits")


#: Set once, when everything is to end.
stopping = threading.Event()
