"""What programs, torch and CUDA need of the machine itself: nothing of it is a user's."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import stat
import subprocess

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
