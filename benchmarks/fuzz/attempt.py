"""One reading of one input, and what is to be thought of it.

Good are two ends: the parser accepts the bytes, or refuses them with an error of ours that can be
shown. All others are faults, also a warning of a library, and memory that ran out while the parser
took that for damage.
"""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from zsar_bench.errors import DataError, UserError

ROOT = Path(__file__).parents[2]
SECONDS = 2.0  #: that a reading may take; real ones take milliseconds
LONGEST = 2001  #: characters of an error that somebody is to read
ACCEPTED, REFUSED, FOREIGN, SLOW = "accepted", "refused", "foreign", "slow"


class Slow(BaseException):
    """The time is up. No ``Exception``: a parser may turn those into errors of its own."""


class Escaped(BaseException):
    """The parser did what no reading of bytes may do, such as writing a file somewhere."""


class Outcome(NamedTuple):
    """How a reading ended: its kind, what it was in a line, and a traceback."""

    kind: str
    what: str = ""
    trace: str = ""


@contextmanager
def watched() -> Iterator[None]:
    """Warnings are errors, and an alarm is one in the place that is slow."""

    def ring(*_: Any) -> None:
        raise Slow

    before = signal.signal(signal.SIGALRM, ring)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", ResourceWarning)
            yield
    finally:
        signal.signal(signal.SIGALRM, before)


def attempt(
    read: Callable[[bytes], object], data: bytes, seconds: float = SECONDS, confined: bool = False
) -> Outcome:
    """Read some bytes; within ``watched``. On busy machines, what is slow has a second chance.

    Where ``confined``, memory that runs out is a refusal, unless the parser hides it.
    """
    outcome = _attempt(read, data, seconds)
    if outcome.kind == SLOW:
        outcome = _attempt(read, data, seconds)
    return Outcome(REFUSED) if confined and outcome.what.startswith("MemoryError:") else outcome


def _attempt(read: Callable[[bytes], object], data: bytes, seconds: float) -> Outcome:
    try:
        # Again and again: a first alarm is lost if it rings where nobody can catch it.
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)
        try:
            read(data)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except UserError as error:  # DataErrors are
        return _shown(error)
    except KeyboardInterrupt:
        raise
    except Slow as error:
        return Outcome(SLOW, f"slow: more than {seconds:g} s{_where(error)}", _trace(error))
    except BaseException as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}{_where(error)}"
        return Outcome(FOREIGN, what, _trace(error))
    return Outcome(ACCEPTED)


def _shown(error: UserError) -> Outcome:
    """A refusal, if it can be shown and hides nothing."""
    kind = "DataError" if isinstance(error, DataError) else "UserError"
    text = str(error)
    if len(text) > LONGEST:
        what = f"{kind} of more than {LONGEST} characters{_where(error)}"
        return Outcome(FOREIGN, what, _trace(error))
    if not text.replace("\n", "").isprintable():
        return Outcome(FOREIGN, f"{kind} that no terminal shows{_where(error)}", _trace(error))
    behind = error.__context__
    while behind is not None:
        if isinstance(behind, MemoryError):
            return Outcome(FOREIGN, f"MemoryError, told as {kind}{_where(behind)}", _trace(error))
        behind = behind.__context__
    return Outcome(REFUSED)


def _where(error: BaseException) -> str:
    """The last place of the traceback that is in the project, a parser rather than this."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/zsar_" in f.filename]
    if not ours:
        return ""
    return f" ({Path(ours[-1].filename).name}, {ours[-1].name})"


def within_project(trace: str) -> str:
    """A traceback whose files are named from the project on: it is committed."""
    return trace.replace(f"{ROOT}{os.sep}", "")


def _trace(error: BaseException) -> str:
    """The last calls: the error's own text may be endless."""
    told = within_project("".join(traceback.format_tb(error.__traceback__, -12)))
    return f"Traceback, last calls:\n{told}{type(error).__name__}: {str(error)[:500]!a}"
