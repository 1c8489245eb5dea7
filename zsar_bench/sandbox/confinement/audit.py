"""The access audit: which accesses a worker was refused, by Python's audit events.

This only reports; the kernel refuses. It does not see accesses by C code, or by a plugin that
disables the hook. Libraries often look for files that do not exist. So an access is reported only
if the path exists, or would lie among data and results, and never in the system's folders.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Collection
from typing import Any

from zsar_bench.sandbox.confinement.rules import Rules

MOST = 50  #: kinds of accesses that are reported
OTHER = "other"  #: counts all further kinds
LONGEST = 200  #: characters of a reported access
#: Folders that programs often search; they contain nothing of a benchmark.
SYSTEM = ("/etc", "/usr", "/lib", "/lib64", "/bin", "/sbin", "/sys", "/dev", "/opt")
PROC = ("/proc/self", "/proc/thread-self")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
REFUSED = (errno.EACCES, errno.EPERM)

#: Events whose first argument names what is changed, and the position of a second such name.
CHANGES = {
    "os.remove": None,
    "os.rmdir": None,
    "os.mkdir": None,
    "os.truncate": None,
    "os.rename": 1,
    "os.link": 0,
    "os.symlink": 1,
}
SOCKETS = {"socket.connect": "connect", "socket.bind": "bind", "socket.sendto": "send to"}
SPAWNS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system")


class AccessAudit:
    """Counts refused accesses by audit events.

    Args:
        rules: what the worker may do.
        protected: where data and results lie.
        report: called with all counts, and whether the last one is the first of its kind.
    """

    def __init__(
        self,
        rules: Rules,
        protected: Collection[str],
        report: Callable[[dict[str, int], bool], None],
    ) -> None:
        self.counts: dict[str, int] = {}
        self._rules = rules
        self._protected = tuple(protected)
        self._report = report
        # Imports and searches for installed packages list these.
        self._searched = {os.path.realpath(path) for path in sys.path}
        self._within = threading.local()
        self._allowed: set[object] = set()

    def record(self, event: str, args: tuple[Any, ...]) -> None:
        """The audit hook; its own errors must not reach the plugin."""
        handler = _HANDLERS.get(event)
        if handler is None or getattr(self._within, "hook", False):
            return
        self._within.hook = True  # the hook's own accesses raise audit events, too
        try:
            handler(self, event, args)
        except Exception:
            pass
        finally:
            self._within.hook = False

    def _note(self, what: str) -> None:
        what = "".join(c if c.isprintable() else "?" for c in what)[:LONGEST]
        new = what not in self.counts
        if new and len(self.counts) >= MOST:
            what, new = OTHER, OTHER not in self.counts
        self.counts[what] = self.counts.get(what, 0) + 1
        self._report(self.counts, new)

    # --- Files ---------------------------------------------------------------------------------

    def _open(self, event: str, args: tuple[Any, ...]) -> None:
        path, mode, flags = args[0], args[1], args[2]
        if path is None or isinstance(path, int) or path in self._allowed:
            return
        writing = bool(flags & WRITING) if isinstance(flags, int) else False
        if isinstance(mode, str):
            writing = any(sign in mode for sign in "wax+")
        if self._refused(path, writing):
            name = os.fsdecode(path)
            unread = name.endswith(".pyc") and _imports()  # Python then reads the source
            if writing or not (unread or self._is_searched(path)):
                self._note(f"{'write' if writing else 'open'} {os.path.abspath(name)}")
        elif not writing and len(self._allowed) < 10_000:
            self._allowed.add(path)

    def _list(self, event: str, args: tuple[Any, ...]) -> None:
        path = "." if args[0] is None else args[0]
        if isinstance(path, int) or _imports():
            return
        if self._refused(path, False) and not self._is_searched(path):
            self._note(f"list {os.path.abspath(os.fsdecode(path))}")

    def _is_searched(self, path: Any) -> bool:
        real = os.path.realpath(os.fsdecode(path))
        return real in self._searched and not self._below_protected(real)

    def _change(self, event: str, args: tuple[Any, ...]) -> None:
        for position in (0, CHANGES[event]):
            if position is None or isinstance(args[position], int):
                continue
            if event == "os.symlink" and position == 0:
                continue  # the target of a symbolic link is not accessed
            name = os.fsdecode(args[position])
            if self._outside(name):
                self._note(f"write {os.path.abspath(name)}")

    def _refused(self, path: Any, writing: bool) -> bool:
        """Whether the kernel refuses this access, by trying it if that changes nothing."""
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            if error.errno in REFUSED:
                return self._matters(os.fsdecode(path))
            if writing:
                return self._outside(os.fsdecode(path))
            return self._below_protected(os.path.realpath(path))
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return False
        try:
            os.close(os.open(path, os.O_WRONLY if writing else os.O_RDONLY | os.O_NONBLOCK))
        except OSError as error:
            return error.errno in REFUSED and self._matters(os.fsdecode(path))
        return False

    def _outside(self, name: str) -> bool:
        """Whether a path to be created or removed lies where that is not allowed."""
        folder = os.path.realpath(os.path.dirname(os.path.abspath(name)))
        if not os.path.isdir(folder):
            return self._below_protected(folder)
        allowed = any(_below(folder, write) for write in self._rules.write)
        return not allowed and self._matters(folder)

    def _below_protected(self, name: str) -> bool:
        if any(_below(name, allowed) for allowed in (*self._rules.read, *self._rules.write)):
            return False
        return any(_below(name, path) for path in self._protected)

    def _matters(self, name: str) -> bool:
        real = os.path.realpath(name)
        own_process = (*PROC, f"/proc/{os.getpid()}")
        if _below(real, "/proc"):
            # /proc holds system files and the numbered folders of processes.
            process = real.removeprefix("/proc").strip("/").partition("/")[0].isdecimal()
            return process and not any(_below(real, path) for path in own_process)
        return not any(_below(real, path) for path in SYSTEM)

    # --- Everything else -----------------------------------------------------------------------

    def _socket(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._rules.network:
            address = args[1]
            where = ":".join(map(str, address)) if isinstance(address, tuple) else str(address)
            self._note(f"{SOCKETS[event]} {where}")

    def _socket_new(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._rules.network:
            from socket import AddressFamily

            self._note(f"socket {AddressFamily(args[1]).name}")

    def _spawn(self, event: str, args: tuple[Any, ...]) -> None:
        program = "/bin/sh" if event == "os.system" else args[0] or args[1][0]
        name = os.fsdecode(program)
        path = name if os.path.dirname(name) else shutil.which(name)
        if path is None:
            return
        try:
            os.close(os.open(path, os.O_RDONLY))
        except OSError as error:
            if error.errno in REFUSED:
                self._note(f"spawn {path}")

    def _kill(self, event: str, args: tuple[Any, ...]) -> None:
        pid = int(args[0])
        try:
            if event == "os.killpg":
                os.killpg(pid, 0)
            else:
                os.kill(pid, 0)
        except PermissionError:
            self._note(f"signal {pid}")
        except OSError:
            pass


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _imports() -> bool:
    """Whether the access comes from the interpreter's own search for modules."""
    with contextlib.suppress(ValueError):
        frame = sys._getframe(3)  # above this function, the handler and ``record``
        return frame.f_code.co_filename.startswith("<frozen importlib")
    return False


_HANDLERS: dict[str, Callable[[AccessAudit, str, tuple[Any, ...]], None]] = {
    "open": AccessAudit._open,
    "os.listdir": AccessAudit._list,
    "os.scandir": AccessAudit._list,
    "socket.__new__": AccessAudit._socket_new,
    "os.kill": AccessAudit._kill,
    "os.killpg": AccessAudit._kill,
    **dict.fromkeys(CHANGES, AccessAudit._change),
    **dict.fromkeys(SOCKETS, AccessAudit._socket),
    **dict.fromkeys(SPAWNS, AccessAudit._spawn),
}
