"""Landlock: a process lets the kernel restrict its use of files, TCP and signals.

Three system calls, with the same numbers on both architectures; see ``man 7 landlock``. A higher
ABI number means more rights that can be refused; unknown rights must not be passed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import stat
import sys
from collections.abc import Iterator

from zsar_bench.sandbox.confinement.libc import syscall
from zsar_bench.sandbox.confinement.rules import Rules

CREATE, ADD, RESTRICT = 444, 445, 446  #: landlock_create_ruleset, _add_rule, _restrict_self
MACHINES = ("x86_64", "aarch64")

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << i for i in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (
    1 << i for i in range(6, 13)
)
REFER = 1 << 13  #: since ABI 2: rename and link between folders; before, always refused
TRUNCATE = 1 << 14  #: since ABI 3; before, never refused
IOCTL_DEV = 1 << 15  #: since ABI 5: commands to a device; before, never refused
ALL_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
#: the other rights are those of folders
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

READ = EXECUTE | READ_FILE | READ_DIR
WRITE = ALL_FILES[5] & ~(MAKE_CHAR | MAKE_BLOCK)

TCP_SINCE, SCOPES_SINCE = 4, 6
TCP = 0b11  #: bind, connect
SCOPES = 0b11  #: abstract Unix sockets and signals of processes outside


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("files", ctypes.c_uint64),
        ("net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def abi() -> int:
    """The kernel's Landlock ABI, 0 if it has none or a container forbids it."""
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        return 0
    try:
        return syscall(CREATE, None, 0, 1)
    except OSError:
        return 0


def handled(version: int) -> int:
    """Every file right that a kernel of this ABI can refuse."""
    return ALL_FILES[max(known for known in ALL_FILES if known <= version)]


def ruleset(rules: Rules, version: int) -> int:
    """A ruleset's descriptor: it refuses every right that the rules do not grant.

    A path that does not exist is skipped; a folder to write to must exist.

    Raises:
        OSError: if the kernel refuses it or a folder to write to is missing.
    """
    mask = handled(version)
    attributes = _Ruleset(
        mask,
        TCP if version >= TCP_SINCE and not rules.network else 0,
        SCOPES if version >= SCOPES_SINCE else 0,
    )
    # An older kernel accepts a longer structure if the unknown fields are zero.
    descriptor = syscall(CREATE, ctypes.addressof(attributes), ctypes.sizeof(attributes), 0)
    try:
        for path, rights, needed in _wanted(rules):
            _allow(descriptor, path, rights & mask, needed)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _wanted(rules: Rules) -> Iterator[tuple[str, int, bool]]:
    yield from ((path, READ, False) for path in rules.read)
    yield from ((path, READ_DIR, False) for path in rules.names)
    yield from ((path, WRITE, True) for path in rules.write)


def _allow(descriptor: int, path: str, rights: int, needed: bool) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if not needed and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return
        raise
    try:
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            rights &= OF_A_FILE
        if rights:
            rule = _PathBeneath(rights, parent)
            syscall(ADD, descriptor, 1, ctypes.addressof(rule), 0)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(parent)


def restrict(descriptor: int) -> None:
    """Apply a ruleset to the calling thread and its later children; needs no_new_privs.

    Raises:
        OSError: if the kernel refuses.
    """
    syscall(RESTRICT, descriptor, 0)
