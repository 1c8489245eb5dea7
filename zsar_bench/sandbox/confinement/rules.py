"""Paths that a confined process may use: whole subtrees, none of which contains protected ones."""

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
    """What a process may use; everything else is refused.

    Attributes:
        read: files, or folders with their content: may be read, listed and executed.
        names: folders below which names may be listed, but no contents read.
        write: folders below which all may be read, created and removed; device files.
        network: whether IPv4 and IPv6 may be used; if not, socket pairs only.
    """

    read: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    network: bool = False


def real(path: str) -> str:
    """The absolute path without links, as the kernel compares paths."""
    return os.path.realpath(os.path.expanduser(path))


def below(path: str, folder: str) -> bool:
    """Whether a real path is a folder or lies in it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def carve(path: str, protected: Iterable[str]) -> list[str]:
    """The largest paths below ``path`` that overlap with no protected path.

    Links inside are left out, because the kernel checks their targets. Paths that do not exist or
    cannot be listed are left out.

    Args:
        path: a file or folder, returned itself if nothing in it is protected.
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
    """Refuse rules that would allow access to a protected path.

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


#: System files that programs and torch read. They need not exist.
SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin"),
    *("/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/localtime", "/etc/nsswitch.conf"),
    *("/etc/passwd", "/etc/group", "/etc/mime.types"),  # names of users: getpass, expanduser
    *("/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf"),  # hashlib and ssl
    *("/dev/urandom", "/dev/random"),
    *("/sys/devices/system/cpu", "/sys/devices/system/node"),
    "/sys/kernel/mm/transparent_hugepage",
    # CPU quota of a container: joblib fails if it cannot read it.
    *("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us",
)


OWN = "/proc/self"  #: resolved by the confined process, so it is its own folder


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
    """The paths that exist."""
    return [path for path in paths if os.path.exists(path)]


def devices() -> list[str]:
    """Device files that may be written to: the null device and every GPU's."""
    _wake_nvidia()
    return [*existing(*DEVICES), *_gpus()]


def kernel_files() -> list[str]:
    """Kernel files about the machine and its GPUs, none about other processes."""
    files = existing(*PROC)
    if _gpus():
        files += sorted(path for pattern in OF_GPUS for path in glob.glob(pattern))
    return files


def _gpus() -> list[str]:
    paths = sorted(path for pattern in GPUS for path in glob.glob(pattern))
    return [path for path in paths if stat.S_ISCHR(os.stat(path).st_mode)]


def _wake_nvidia() -> None:
    """Create the device files that the first CUDA program after a system start creates.

    That needs a setuid program, which a confined process cannot use.
    """
    program = shutil.which("nvidia-modprobe")
    if program is not None and not os.path.exists("/dev/nvidia-uvm"):
        # If it fails, CUDA reports the error.
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run([program, "-u", "-c", "0"], capture_output=True, check=False, timeout=20)
