"""Dropping privileges: no capabilities, no new privileges, no core dumps."""

from __future__ import annotations

import contextlib
import ctypes
import sys

from zsar_bench.sandbox.confinement.libc import libc, prctl

SET_DUMPABLE, CAPBSET_READ, CAPBSET_DROP = 4, 23, 24  #: options of prctl
SET_NO_NEW_PRIVS, AMBIENT, CLEAR_ALL = 38, 47, 4
VERSION_3 = 0x20080522  #: of capset: two words of 32 capabilities


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Words(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def available() -> bool:
    """Whether this system has capabilities to drop."""
    return sys.platform == "linux"


def drop() -> None:
    """Drop every capability irrevocably, also for programs started later; forbid core dumps.

    Raises:
        OSError: if the kernel refuses.
    """
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Without privileges the bounding set can neither be reduced nor used.
    with contextlib.suppress(PermissionError):
        _drop_bounding_set()
    with contextlib.suppress(OSError):  # before Linux 4.3 there was no ambient set
        prctl(AMBIENT, CLEAR_ALL)
    header, words = _Header(VERSION_3, 0), (_Words * 2)()
    ctypes.set_errno(0)
    if libc().capset(ctypes.byref(header), ctypes.byref(words)) != 0:
        raise OSError(ctypes.get_errno(), "capset was refused")
    prctl(SET_NO_NEW_PRIVS, 1)
    # Otherwise /proc/self would belong to root and be unreadable.
    prctl(SET_DUMPABLE, 1)


def _drop_bounding_set() -> None:
    number = 0
    while True:
        try:
            prctl(CAPBSET_READ, number)
        except OSError:  # EINVAL: one past the last that this kernel knows
            return
        prctl(CAPBSET_DROP, number)
        number += 1
