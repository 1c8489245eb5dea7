"""What a confined process may reach: whole paths only, and never above what is protected."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from zsar_bench.errors import UserError


@dataclass(frozen=True)
class Rules:
    """What stays reachable; everything else is refused.

    Attributes:
        read: files, or folders with all below: read, list, execute.
        names: folders below which names may be listed, contents not read.
        write: folders below which anything may be read, made and removed; device files.
        network: whether IPv4 and IPv6 are open; otherwise no socket of any family but pairs.
    """

    read: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    network: bool = False


def real(path: str) -> str:
    """The absolute path without links: what the kernel compares."""
    return os.path.realpath(os.path.expanduser(path))


def below(path: str, folder: str) -> bool:
    """Whether a real path is a folder or lies in it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def carve(path: str, protected: Iterable[str]) -> list[str]:
    """The largest paths below ``path`` that neither are, hold, nor lie in a protected path.

    Links inside are left out: the kernel asks where they lead, and that is allowed or not by
    itself. What does not exist, or cannot be listed, gives nothing.

    Args:
        path: a file or folder; it may be the only answer.
        protected: files and folders, which need not exist.

    Returns:
        Real paths, sorted.
    """
    return sorted(_carved(real(path), [real(p) for p in protected]))


def _carved(path: str, protected: list[str]) -> Iterator[str]:
    if not os.path.lexists(path) or any(below(path, p) for p in protected):
        return
    inside = [p for p in protected if below(p, path)]
    if not inside:
        yield path
        return
    try:
        entries = [e for e in os.scandir(path) if not e.is_symlink()]
    except OSError:
        return
    for entry in entries:
        yield from _carved(entry.path, inside)


def check(rules: Rules, protected: Iterable[str]) -> None:
    """Refuse rules that would open something protected.

    Raises:
        UserError: naming the allowed path that is, or is above, a protected one.
    """
    places = [real(p) for p in protected]
    for path in (*rules.read, *rules.names, *rules.write):
        place = real(path)
        for kept in places:
            if below(kept, place):
                held = "it is protected" if kept == place else f"it holds {kept}"
                raise UserError(
                    f"Plugin code would have to be given the folder {place}, but {held}.",
                    "Keep prepared data (ZSAR_BENCH_HOME), results (--results) and raw data"
                    " outside of it.",
                )


#: What programs and torch read of the system. None of it need exist.
SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin"),
    *("/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/localtime", "/etc/nsswitch.conf"),
    *("/etc/passwd", "/etc/group", "/etc/mime.types"),  # names of users: getpass, expanduser
    *("/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf"),  # hashlib and ssl
    *("/dev/urandom", "/dev/random"),
    *("/sys/devices/system/cpu", "/sys/devices/system/node"),
    "/sys/kernel/mm/transparent_hugepage",
    # How many cores a container grants: joblib reads it and takes no refusal.
    *("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us",
)


OWN = "/proc/self"  #: resolved by the process that confines itself: no other process's folder


PROC = (
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/filesystems", "/proc/version"),
    *("/proc/sys/vm/overcommit_memory", "/proc/sys/vm/max_map_count", "/proc/sys/vm/mmap_min_addr"),
    *("/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"),
)


NETWORK = (
    *("/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/gai.conf", "/etc/services"),
    *("/etc/protocols", "/etc/ssl", "/etc/pki", "/etc/ca-certificates"),
)


DEVICES = ("/dev/null", "/dev/zero")


GPUS = (
    *("/dev/nvidia*", "/dev/nvidia-caps/*"),  # CUDA
    *("/dev/kfd", "/dev/dri/renderD*"),  # ROCm
    "/dev/dxg",  # CUDA in Windows' Linux
)


OF_GPUS = (
    *("/proc/driver/nvidia", "/proc/devices", "/proc/modules"),
    *("/sys/bus/pci", "/sys/devices", "/sys/module/nvidia*", "/sys/module/amdgpu"),
    *("/sys/class/kfd", "/sys/class/drm"),
)


def existing(*paths: str) -> list[str]:
    """Those of the paths that are there."""
    return [path for path in paths if os.path.exists(path)]


def devices() -> list[str]:
    """Device files that may be written to: the null device and every GPU's."""
    _wake_nvidia()
    return [*existing(*DEVICES), *_gpus()]


def kernel_files() -> list[str]:
    """Files about the machine and its GPUs, and of other processes nothing."""
    files = existing(*PROC)
    if _gpus():
        files += sorted(path for pattern in OF_GPUS for path in glob.glob(pattern))
    return files


def _gpus() -> list[str]:
    found = sorted(path for pattern in GPUS for path in glob.glob(pattern))
    return [path for path in found if stat.S_ISCHR(os.stat(path).st_mode)]


def _wake_nvidia() -> None:
    """Make the device files that the first CUDA program since the start would have made.

    It does so through a program that runs as root, and a confined process gains no privileges.
    """
    program = shutil.which("nvidia-modprobe")
    if program is not None and not os.path.exists("/dev/nvidia-uvm"):
        # What it cannot do, CUDA will say.
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run([program, "-u", "-c", "0"], capture_output=True, check=False, timeout=20)
