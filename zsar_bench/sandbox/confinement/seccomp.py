"""A filter on system calls, for what Landlock (or an older kernel's Landlock) does not restrict.

The filter is a small kernel program (classic BPF) that reads the call's number and first argument.
Refused calls fail with EPERM, as without privileges. Calls that are newer than the table fail with
ENOSYS, as on an older kernel, so that libraries use their fallback.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys

from zsar_bench.sandbox.confinement.libc import syscall

X86, ARM = 0xC000003E, 0xC00000B7  #: AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64
ARCHES = {"x86_64": X86, "aarch64": ARM}
SECCOMP = {"x86_64": 317, "aarch64": 277}
X32 = 0x40000000  #: bit of a call's number in the x32 ABI, whose numbers mean other calls
LAST = 469  #: the newest call in the table; both architectures share the newer numbers

#: Calls refused with EPERM: name -> number on x86_64 and aarch64; -1: not there.
REFUSED = {
    # Other processes' memory, descriptors and limits.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "migrate_pages": (256, 238),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    # Kernel facilities, and input and output that bypass this filter.
    "perf_event_open": (298, 241),
    "bpf": (321, 280),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # Memory, messages and semaphores shared with processes outside.
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmdt": (67, 197),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "mq_timedsend": (242, 182),
    "mq_timedreceive": (243, 183),
    "mq_notify": (244, 184),
    "mq_getsetattr": (245, 185),
    # Another view of the file system, or another namespace with all capabilities in it.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # The parent kills the process group at the end, so no process may leave it.
    "setsid": (112, 157),
    "setpgid": (109, 154),
    # Landlock does not cover a file's mode, owner, times and attributes, nor watching a folder.
    "chmod": (90, -1),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, -1),
    "fchown": (93, 55),
    "lchown": (94, -1),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    "utime": (132, -1),
    "utimes": (235, -1),
    "futimesat": (261, -1),
    "utimensat": (280, 88),
    "inotify_init": (253, -1),
    "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
}
#: Calls about a process, by their first argument, that only concern the caller itself.
OWN = {
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
}
SOCKET = (41, 198)
CLONE = (56, 220)
CLONE3 = (435, 435)  #: a filter cannot read its flags in memory; glibc falls back to clone
#: CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}, and CLONE_PARENT: a child that is the parent's.
NAMESPACES = 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000
PARENT = 0x8000
#: Address families that a network needs: IPv4, IPv6, and the kernel's list of interfaces. Unix
#: sockets would reach daemons of this machine.
FAMILIES = (2, 10, 16)

# Classic BPF: opcode, jump if true, jump if false, constant.
_LOAD, _EQUAL, _GREATER, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_ALLOW = 0x7FFF0000
_NUMBER, _ARCH, _FIRST = 0, 4, 16  #: offsets into struct seccomp_data
_Op = tuple[int, int, int, int]


def _fail(number: int) -> _Op:
    return (_RETURN, 0, 0, 0x50000 | number)


def program(arch: int, network: bool) -> list[_Op]:
    """The filter: instructions ``(opcode, jump if true, jump if false, constant)``."""
    column = 0 if arch == X86 else 1
    refused = _fail(errno.EPERM)
    ops: list[_Op] = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, arch),
        refused,  # the 32-bit calls of the same machine
        (_LOAD, 0, 0, _NUMBER),
    ]
    if arch == X86:
        ops += [(_ANY_BIT, 0, 1, X32), refused]
    ops += [(_GREATER, 0, 1, LAST), _fail(errno.ENOSYS)]
    ops += [(_EQUAL, 0, 1, CLONE3[column]), _fail(errno.ENOSYS)]
    for numbers in REFUSED.values():
        if numbers[column] >= 0:
            ops += [(_EQUAL, 0, 1, numbers[column]), refused]
    ops += _on_first(CLONE[column], [(_ANY_BIT, 0, 1, NAMESPACES | PARENT), refused])
    for numbers in OWN.values():
        ops += _on_first(numbers[column], [(_EQUAL, 1, 0, 0), refused])  # 0: the process itself
    families = FAMILIES if network else ()
    allowed = [(_EQUAL, len(families) - i, 0, family) for i, family in enumerate(families)]
    ops += _on_first(SOCKET[column], [*allowed, refused])
    return [*ops, (_RETURN, 0, 0, _ALLOW)]


def _on_first(number: int, then: list[_Op]) -> list[_Op]:
    """Test the first argument (lower half) of this call; allowed unless ``then`` refuses."""
    body = [(_LOAD, 0, 0, _FIRST), *then, (_RETURN, 0, 0, _ALLOW)]
    return [(_EQUAL, 0, len(body), number), *body]


def available() -> bool:
    """Whether the kernel takes filters on this machine."""
    if sys.platform != "linux" or platform.machine() not in ARCHES:
        return False
    action = ctypes.c_uint32(0x50000)
    try:
        ask = 2  # SECCOMP_GET_ACTION_AVAIL
        syscall(SECCOMP[platform.machine()], ask, 0, ctypes.addressof(action))
    except OSError:
        return False
    return True


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install(network: bool) -> None:
    """Filter this process's calls from now on, in all threads; needs no_new_privs.

    Raises:
        OSError: if the kernel refuses.
    """
    machine = platform.machine()
    code = b"".join(struct.pack("=HBBI", *op) for op in program(ARCHES[machine], network))
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_ = _Program(len(code) // 8, ctypes.addressof(buffer))
    set_filter, all_threads = 1, 1
    left = syscall(SECCOMP[machine], set_filter, all_threads, ctypes.addressof(filter_))
    if left:
        raise OSError(errno.EAGAIN, f"thread {left} could not be filtered")
