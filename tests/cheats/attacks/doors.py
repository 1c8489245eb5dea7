"""Doors to files: one function a door, which returns what it got, or fails.

They need no torch, so that a test can try them in an unconfined process: what gets nothing there
is no attack. This file registers nothing; ``burglar`` uses it.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zsar_bench.hookspecs import hookimpl

api = 1

Targets = dict[str, Any]
LIBC = ctypes.CDLL(None, use_errno=True)


def libc(name: str, *arguments: Any) -> int:
    """A call into the C library; raises OSError."""
    ctypes.set_errno(0)
    answer = int(getattr(LIBC, name)(*arguments))
    if answer < 0:
        raise OSError(ctypes.get_errno(), name)
    return answer


def syscall(number: int, *arguments: Any) -> int:
    return libc("syscall", ctypes.c_long(number), *arguments)


def in_a_child(work: Callable[[], Any]) -> bool:
    """Whether ``work`` succeeds in a forked child: for what would change this process."""
    pid = os.fork()
    if not pid:
        try:
            code = 0 if work() else 1
        except BaseException:
            code = 1
        os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


# --- Files ----------------------------------------------------------------------------------------


def head(path: str | Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(64)


def _relative(t: Targets) -> bytes:
    """Through a descriptor that was opened for its path only."""
    folder = os.open(os.path.dirname(t["dataset"]), os.O_PATH)
    try:
        return head(f"/proc/self/fd/{folder}/dataset.json")
    finally:
        os.close(folder)


def _reopened(t: Targets) -> bytes:
    file = os.open(t["dataset"], os.O_PATH)
    try:
        return head(f"/proc/self/fd/{file}")
    finally:
        os.close(file)


def _symlink(t: Targets) -> bytes:
    os.symlink(t["dataset"], link := f"symlink-{os.getpid()}-{os.urandom(4).hex()}")
    return head(link)


def _hardlink(t: Targets) -> bytes:
    os.link(t["dataset"], link := f"hardlink-{os.getpid()}-{os.urandom(4).hex()}")
    return head(link)


def _program(t: Targets) -> bytes:
    return subprocess.run(["cat", t["dataset"]], capture_output=True, check=True).stdout


def _handle(t: Targets) -> bytes:
    """By the file's handle, which no path leads to; a superuser's privilege."""
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128))
    mount = ctypes.c_int()
    libc("name_to_handle_at", -100, t["dataset"].encode(), handle, ctypes.byref(mount), 0)
    root = os.open("/", os.O_RDONLY)
    return os.read(libc("open_by_handle_at", root, handle, os.O_RDONLY), 64)


def _unshare(t: Targets) -> bool:
    """Mounts of its own, where anything can be put anywhere."""
    new_user, new_mounts = 0x10000000, 0x20000
    return in_a_child(lambda: libc("unshare", new_user | new_mounts) == 0)


def _inherited(t: Targets) -> list[str]:
    """Files and folders that somebody left open, but for the log."""
    found = []
    for fd in range(3, 1024):
        try:
            mode = os.fstat(fd).st_mode
            path = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) and not path.startswith(sys.base_prefix):
            found.append(path)
    return found


FILES: dict[str, Callable[[Targets], Any]] = {
    "inherited": _inherited,
    "store": lambda t: head(t["dataset"]),
    "shard": lambda t: head(t["shard"]),
    "raw": lambda t: head(t["raw"]),
    "results": lambda t: head(t["predictions"]),
    "reference": lambda t: head(t["reference"]),
    "bundle": lambda t: head(t["bundle"]),
    "list-store": lambda t: os.listdir(os.path.dirname(t["shard"])),
    "list-results": lambda t: os.listdir(os.path.dirname(t["predictions"])),
    "relative": _relative,
    "reopened": _reopened,
    "proc-root": lambda t: head("/proc/self/root" + t["dataset"]),
    "symlink": _symlink,
    "hardlink": _hardlink,
    "program": _program,
    "handle": _handle,
    "unshare": _unshare,
    "stat": lambda t: os.stat(t["shard"]).st_size,
}

# --- Writing --------------------------------------------------------------------------------------


def _append(path: str) -> bool:
    """Whether a file can be opened for writing; a new one is removed again."""
    new = not os.path.lexists(path)
    os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))
    if new:
        os.remove(path)
    return True


def _new(folder: str) -> bool:
    return _append(os.path.join(folder, f"burglar-{os.getpid()}"))


def done(answer: object) -> bool:
    """Whether a call that answers nothing has come to its end."""
    return answer is None


def _touch(path: str) -> bool:
    about = os.stat(path)
    return done(os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns)))


WRITES: dict[str, Callable[[Targets], Any]] = {
    "write-store": lambda t: _append(t["dataset"]),
    "write-results": lambda t: _append(t["predictions"]),
    "write-source": lambda t: _append(__file__),
    "write-harness": lambda t: _new(t["harness"]),
    "write-site": lambda t: _new(t["site"]),
    "write-tmp": lambda t: _new("/tmp"),
    "write-home": lambda t: _new(t["home"]),
    "truncate": lambda t: done(os.truncate(t["canary"], 3)),
    "touch": lambda t: _touch(t["predictions"]),
    "chmod": lambda t: done(os.chmod(t["predictions"], 0o600)),
    "chown": lambda t: done(os.chown(t["predictions"], os.getuid(), os.getgid())),
    "xattr": lambda t: done(os.setxattr(t["predictions"], "user.burglar", b"1")),
}


@hookimpl
def register_methods(registry) -> None:
    """Nothing: a plugin has to have a hook."""
