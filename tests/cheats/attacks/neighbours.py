"""Doors to other processes, to the network, and what lies around; see ``doors``."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zsar_plugin_doors import LIBC, Targets, done, head, in_a_child, libc, syscall

from zsar_bench.hookspecs import hookimpl

api = 1

# --- Other processes ------------------------------------------------------------------------------


def strangers() -> list[int]:
    """The parent first, then a few with numbers near one's own."""
    me, parent = os.getpid(), os.getppid()
    near = [p for p in range(me + 50, max(1, me - 3000), -1) if os.path.isdir(f"/proc/{p}")]
    return [parent, *(p for p in near if p not in (me, parent))][:6]


def _any(work: Callable[[int], Any]) -> Any:
    """What ``work`` gets of the first stranger that lets it."""
    for pid in strangers():
        try:
            if found := work(pid):
                return found
        except OSError:
            continue
    return None


def _memory(pid: int) -> bytes:
    first = Path(f"/proc/{pid}/maps").read_text().partition("-")[0]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(int(first, 16))
        return memory.read(16)


def _vm_read(pid: int) -> bool:
    """A wrong address is no protection: it only has to be found."""
    here = ctypes.create_string_buffer(8)
    pairs = (ctypes.c_void_p * 4)(ctypes.addressof(here), 8, id(None), 8)
    there = ctypes.addressof(pairs) + 16
    ctypes.set_errno(0)
    got = LIBC.process_vm_readv(pid, pairs, ctypes.c_long(1), ctypes.c_void_p(there), 1, 0)
    return got > 0 or ctypes.get_errno() == 14  # EFAULT


def _trace(pid: int) -> bool:
    seize = 0x4206
    return in_a_child(lambda: libc("ptrace", seize, pid, None, None) == 0)


def _steal(pid: int) -> bool:
    """A descriptor of somebody else's."""
    pidfd_open, pidfd_getfd = 434, 438
    handle = syscall(pidfd_open, pid, 0)
    return any(_granted(lambda fd=fd: syscall(pidfd_getfd, handle, fd, 0)) for fd in range(8))


def _granted(work: Callable[[], Any]) -> bool:
    try:
        work()
    except OSError:
        return False
    return True


def _limit(pid: int) -> bool:
    resource.prlimit(pid, resource.RLIMIT_FSIZE, resource.prlimit(pid, resource.RLIMIT_FSIZE))
    return True


PROCESSES: dict[str, Callable[[Targets], Any]] = {
    "environ": lambda t: _any(lambda p: t["secret"].encode() in head_all(f"/proc/{p}/environ")),
    "cmdline": lambda t: _any(lambda p: head(f"/proc/{p}/cmdline")),
    "memory": lambda t: _any(_memory),
    "descriptors": lambda t: _any(lambda p: os.listdir(f"/proc/{p}/fd")),
    "their-root": lambda t: _any(lambda p: os.listdir(f"/proc/{p}/root/")),
    "their-folder": lambda t: _any(lambda p: os.readlink(f"/proc/{p}/cwd")),
    "signal": lambda t: _any(lambda p: os.kill(p, 0) is None),
    "trace": lambda t: _trace(os.getppid()),
    "vm-read": lambda t: _any(_vm_read),
    "steal": lambda t: _any(_steal),
    "limit": lambda t: _any(_limit),
    # A process of the same user without privileges, as every worker of another run is.
    "affinity": lambda t: done(os.sched_setaffinity(t["victim"], {0})),
    "priority": lambda t: done(os.setpriority(os.PRIO_PROCESS, t["victim"], 5)),
    "scheduler": lambda t: done(
        os.sched_setscheduler(t["victim"], os.SCHED_BATCH, os.sched_param(0))
    ),
}


def head_all(path: str) -> bytes:
    return Path(path).read_bytes()


# --- The network ----------------------------------------------------------------------------------


def _udp(t: Targets) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        return s.sendto(b"labels", ("127.0.0.1", t["udp"]))


def _unix(address: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        return done(s.connect(address))


def _listen(t: Targets) -> bool:
    with socket.create_server(("127.0.0.1", 0)):
        return True


def _family(family: int, kind: int) -> bool:
    socket.socket(family, kind).close()
    return True


def _io_uring(t: Targets) -> bool:
    """A ring of requests, which no system-call filter sees."""
    io_uring_setup = 425
    os.close(syscall(io_uring_setup, 1, ctypes.create_string_buffer(120)))
    return True


def _i386(t: Targets) -> bool:
    """A socket by the system calls of 32-bit programs, which have other numbers."""
    import mmap

    # push rbx; mov eax, 359; mov ebx, 1; mov ecx, 1; xor edx, edx; int 0x80; pop rbx; ret
    code = bytes.fromhex("53b867010000bb01000000b90100000031d2cd805bc3")
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return in_a_child(lambda: ctypes.CFUNCTYPE(ctypes.c_int)(address)() >= 0)


NETWORK: dict[str, Callable[[Targets], Any]] = {
    "tcp": lambda t: done(socket.create_connection(("127.0.0.1", t["tcp"]), 2).close()),
    "udp": _udp,
    "unix": lambda t: _unix(t["unix"]),
    "abstract": lambda t: _unix("\0" + t["abstract"]),
    "listen": _listen,
    "netlink": lambda t: _family(socket.AF_NETLINK, socket.SOCK_RAW),
    "io-uring": _io_uring,
    "i386": _i386,
}

# --- What is lying around -------------------------------------------------------------------------


def _stack(t: Targets) -> str:
    """Names of unseen clips or shards in what the harness holds while it calls the plugin."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        for name, value in list(frame.f_locals.items()):
            if name not in ("t", "targets", "self") and isinstance(value, (dict, list, tuple, str)):
                text = repr(value).replace("\\", "")
                for told in filter(lambda v: isinstance(v, str), t.values()):
                    text = text.replace(told, "")
                if found := re.search(t["names"], text):
                    return found[0]
        frame = frame.f_back
    return ""


def _capabilities(t: Targets) -> int:
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"CapEff:\s*(\w+)", status)[1], 16)


AROUND: dict[str, Callable[[Targets], Any]] = {
    "own-environ": lambda t: t["secret"] in os.environ.values(),
    "stack": _stack,
    "capabilities": _capabilities,
    "core-dump": lambda t: resource.getrlimit(resource.RLIMIT_CORE)[1] != 0,
}


@hookimpl
def register_methods(registry) -> None:
    """Nothing: a plugin has to have a hook."""
