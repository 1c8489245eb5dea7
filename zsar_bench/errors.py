"""Errors a user can meet: what happened, where, and what to type next. Exit code 2."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable

LONGEST = 1000  #: characters of what is wrong, and of the hint
_HEAD, _TAIL = 700, 250  #: what is left of a longer text


class UserError(Exception):
    """A mistake in a command, a file or the data, told in at most three sentences.

    Files of strangers put what they like into an error: what a terminal would act on, or could not
    show, is written out, and of endless texts only both ends are kept.

    Args:
        what: what is wrong, with the name of the file, field or class it is about.
        hint: what to type or look at next; may be empty.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        what, hint = _shown(what), _shown(hint)
        super().__init__(f"{what}\n{hint}" if hint else what)
        self.what = what
        self.hint = hint


class DataError(UserError):
    """A file that cannot be what it claims to be: truncated, empty, NaN, wrong shape or type."""


class StorageError(UserError):
    """The machine refuses a write: the disk is full, the folder read-only or somebody else's.

    Nothing else that a command would write can be relied on then: it ends.
    """


#: What a file system says where it refuses a write.
REFUSALS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    }
)


def storage_error(error: OSError) -> StorageError | None:
    """The error as a user reads it, if it is such a refusal of a file of known name."""
    if error.errno not in REFUSALS or error.filename is None:
        return None
    name = os.fsdecode(error.filename)
    return StorageError(f"Cannot write {name}: {error.strerror}.")


class RunFailed(Exception):
    """Plugin code failed inside a worker; the run is marked failed, the others go on.

    Args:
        reason: one line, for tables and records.
        log: the tail of what the worker printed.
        status: ``failed``, ``timeout`` (over the time limit) or ``oom`` (out of memory).
    """

    def __init__(self, reason: str, log: str = "", status: str = "failed") -> None:
        reason, log = _shown(reason), _printable(log)
        super().__init__(reason)
        self.reason = reason
        self.log = log
        self.status = status


def _shown(text: str) -> str:
    """The text without control signs, halves of pairs and signs that turn a line round."""
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
    """The error for a name nobody registered: suggests the nearest, or lists the known ones."""
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
