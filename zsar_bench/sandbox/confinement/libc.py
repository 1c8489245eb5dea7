"""System calls by number, and ``prctl``, with errors as exceptions."""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any


@functools.cache
def libc() -> ctypes.CDLL:
    """The C library this process is linked with."""
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    # Only -1 means failure: errno alone may be left from an earlier call.
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


@functools.cache
def _syscall(arguments: int) -> Any:
    # Types are declared once for each number of arguments: there are hundreds of rules.
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    call.argtypes = (ctypes.c_long, *(ctypes.c_void_p for _ in range(arguments)))
    return call


def syscall(number: int, *arguments: int | None) -> int:
    """Make a system call; integers and addresses are passed as machine words.

    Raises:
        OSError: with the call's error number.
    """
    return _checked(_syscall(len(arguments))(number, *arguments))


def prctl(option: int, *arguments: int) -> int:
    """Operate on this process; see ``man 2 prctl``.

    Raises:
        OSError: with the call's error number.
    """
    words = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    return _checked(libc().prctl(ctypes.c_int(option), *words))
