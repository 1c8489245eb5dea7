"""Parsers with one bug each, which a fuzzing campaign has to find (``test_fuzz``)."""

from __future__ import annotations

import faulthandler
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from benchmarks.fuzz.mutate import Seed
from benchmarks.fuzz.registry import Fuzzed, Make
from zsar_bench.errors import DataError

SEEDS = [Seed(b"some 12 bytes"), Seed(b"other 345 bytes")]


def is_bad(data: bytes) -> bool:
    """Whether this is one of the files on which these parsers fail."""
    return len(data) % 7 == 5


def _planted(bug: Callable[[Path], object]) -> Make:
    def make(folder: Path) -> Fuzzed:
        def read(data: bytes) -> None:
            if is_bad(data):
                bug(folder)
            if len(data) % 2:
                raise DataError("it is odd")

        return Fuzzed(SEEDS, read)

    return make


def _hide(folder: Path) -> None:
    try:
        bytearray(8 << 30)
    except Exception:
        raise DataError("it is damaged") from None


def _turn_into_our_error(folder: Path) -> None:
    try:
        time.sleep(60)
    except Exception:
        raise DataError("it is slow") from None


def _spin(folder: Path) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})  # as a loop in C does
    while True:
        pass


def _speak(text: str) -> None:
    error = DataError("")
    error.args = (text,)
    raise error


KEPT: list[bytearray] = []

fine = _planted(lambda folder: None)
key_error = _planted(lambda folder: {}["missing"])
sleeps = _planted(_turn_into_our_error)
allocates = _planted(lambda folder: bytearray(8 << 30))
hides = _planted(_hide)
grows = _planted(lambda folder: KEPT.append(bytearray(b"1") * (300 << 20)) if not KEPT else None)
warns = _planted(lambda folder: warnings.warn("an overflow", RuntimeWarning, stacklevel=1))
writes = _planted(lambda folder: (folder.parent / "elsewhere").write_text("x"))
reads = _planted(lambda folder: Path("/etc/passwd").read_text())
keeps = _planted(lambda folder: (folder / "inside").write_text("x"))
recurses = _planted(lambda folder: recurses_for_ever())
endless = _planted(lambda folder: _speak("x" * 5000))
clears = _planted(lambda folder: _speak("\x1b[2J"))
dies = _planted(lambda folder: faulthandler._sigsegv())  # type: ignore[attr-defined]
exits = _planted(lambda folder: exit(3))
spins = _planted(_spin)


def recurses_for_ever() -> None:
    recurses_for_ever()
