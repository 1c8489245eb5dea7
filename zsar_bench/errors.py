"""Errors for users: what is wrong, where, and what to do next. Exit code 2."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable

LONGEST = 1000  #: characters of a message and of its hint
_HEAD, _TAIL = 700, 250  #: characters kept of a longer text


class UserError(Exception):
    """A mistake in a command, a file or the data, in at most three sentences.

    Messages may contain text from untrusted input: control characters are escaped, and long texts
    are shortened to both ends.

    Args:
        what: what is wrong, naming the file, field or class.
        hint: what to type or read next; may be empty.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        what, hint = _shown(what), _shown(hint)
        super().__init__(f"{what}\n{hint}" if hint else what)
        self.what = what
        self.hint = hint


class DataError(UserError):
    """An invalid data file: truncated, empty, with NaN, or of a wrong shape or type."""


class StorageError(UserError):
    """A failed write: the disk is full, or the folder is read-only or belongs to another user.

    The command ends, because its other writes would fail, too.
    """


#: Error numbers of refused writes.
REFUSALS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    }
)


def storage_error(error: OSError) -> StorageError | None:
    """The ``StorageError`` for a refused write to a named file; None for other errors."""
    if error.errno not in REFUSALS or error.filename is None:
        return None
    name = os.fsdecode(error.filename)
    return StorageError(f"Cannot write {name}: {error.strerror}.")


class RunFailed(Exception):
    """Plugin code failed in a worker; its run is marked as failed, other runs continue.

    Args:
        reason: one line, for tables and records.
        log: the end of the worker's output.
        status: ``failed``, ``timeout`` (over the time limit) or ``oom`` (out of memory).
    """

    def __init__(self, reason: str, log: str = "", status: str = "failed") -> None:
        reason, log = _shown(reason), _printable(log)
        super().__init__(reason)
        self.reason = reason
        self.log = log
        self.status = status


def _shown(text: str) -> str:
    """The text with control characters escaped, shortened if it is long."""
    return _ends(_printable(_ends(text)))


def _printable(text: str) -> str:
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def _ends(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:_HEAD]} ... {text[-_TAIL:]}"


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """The known names closest to a misspelt one, best first, at most three."""
    options = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), options, n=3, cutoff=0.5)
    return [options[c] for c in close]


def unknown(kind: str, name: str, known: Iterable[str], list_with: str = "") -> UserError:
    """The error for an unknown name: suggests the nearest, or lists the known ones."""
    known = sorted(known)
    close = nearest(name, known)
    if close:
        hint = f"Did you mean {' or '.join(close)}?"
    elif known:
        hint = f"Known: {', '.join(known[:30])}{', ...' if len(known) > 30 else ''}."
    else:
        hint = ""
    if list_with:
        hint = f"{hint} See: {list_with}".strip()
    return UserError(f"Unknown {kind} '{name}'.", hint)
