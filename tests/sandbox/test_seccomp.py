"""The filter on system calls, for both machines: run by an interpreter of the test's own."""

from __future__ import annotations

import os
import re
import socket
import struct
from pathlib import Path

import pytest

from zsar_bench.sandbox.confinement import seccomp


def verdict(program: list[tuple[int, int, int, int]], arch: int, number: int, first: int) -> int:
    """What a classic BPF program returns for a system call; struct seccomp_data by hand."""
    data = struct.pack("<iIQ6Q", number, arch, 0, first & (2**64 - 1), 0, 0, 0, 0, 0)
    register, at = 0, 0
    while True:
        code, true, false, constant = program[at]
        at += 1
        if code == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            register = struct.unpack_from("<I", data, constant)[0]
        elif code == 0x06:  # BPF_RET | BPF_K
            return constant
        else:  # BPF_JMP with JEQ, JGT, JSET
            holds = {
                0x15: register == constant,
                0x25: register > constant,
                0x45: bool(register & constant),
            }[code]
            at += true if holds else false


ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x50001, 0x50026
HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"),
    "aarch64": ("/usr/include/asm-generic/unistd.h",),
}
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
#: What a worker cannot do without, and what it must never do.
NEEDED = "read write openat mmap clone futex execve wait4 kill tgkill pipe2 socketpair exit_group"
FORBIDDEN = (
    "ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp perf_event_open bpf io_uring_setup"
    " io_uring_enter io_uring_register userfaultfd add_key request_key keyctl shmget shmat shmctl"
    " shmdt msgget msgsnd msgrcv msgctl semget semop semctl semtimedop mq_open mq_unlink"
    " mq_timedsend mq_timedreceive mq_notify mq_getsetattr mount umount2 pivot_root chroot unshare"
    " setns open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr setsid setpgid"
    " open_by_handle_at fchmod fchmodat fchown fchownat setxattr utimensat inotify_init1"
    " inotify_add_watch fanotify_init socket"
)
OLD = "chmod chown lchown utime utimes futimesat inotify_init"  #: x86_64 only


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_refuses_by_the_numbers_of_the_kernels_headers(machine: str) -> None:
    header = next((Path(h) for h in HEADERS[machine] if Path(h).exists()), None)
    if header is None:
        pytest.skip(f"no kernel header with the numbers of {machine}")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())
    numbers = {name: int(number) for name, number in found}
    program, arch = seccomp.program(ARCH[machine], network=False), ARCH[machine]
    forbidden = FORBIDDEN.split() + (OLD.split() if machine == "x86_64" else [])
    assert {verdict(program, arch, numbers[name], 2) for name in forbidden} == {EPERM}
    assert {verdict(program, arch, numbers[name], 17) for name in NEEDED.split()} == {ALLOW}
    table = {n: numbers[n] for n in seccomp.REFUSED if n in numbers}
    column = ["x86_64", "aarch64"].index(machine)
    assert table == {n: seccomp.REFUSED[n][column] for n in table}
    assert len(table) > 60


@pytest.mark.parametrize(
    ("machine", "clone", "limit"), [("x86_64", 56, 302), ("aarch64", 220, 261)]
)
def test_the_filter_looks_at_flags_processes_and_families(
    machine: str, clone: int, limit: int
) -> None:
    arch = ARCH[machine]
    program = seccomp.program(arch, network=True)
    thread, fork = 0x3D0F00, 0x1200011  # as glibc makes them
    assert {verdict(program, arch, clone, flags) for flags in (thread, fork)} == {ALLOW}
    for new in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(program, arch, clone, fork | new) == EPERM
    assert verdict(program, arch, 435, fork) == ENOSYS  # clone3
    assert verdict(program, arch, limit, 0) == ALLOW
    assert verdict(program, arch, limit, os.getpid()) == EPERM
    number = {"x86_64": 41, "aarch64": 198}[machine]
    allowed = [f for f in range(46) if verdict(program, arch, number, f) == ALLOW]
    assert allowed == [socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK]
    assert verdict(program, arch, 900, 0) == ENOSYS


def test_the_filter_refuses_every_call_of_another_abi() -> None:
    for machine, others in {"x86_64": [0x40000003, 0xC00000B7], "aarch64": [0x40000028]}.items():
        program = seccomp.program(ARCH[machine], network=True)
        for arch in others:
            assert {verdict(program, arch, number, 0) for number in range(500)} == {EPERM}
    x32 = 0x40000000
    program = seccomp.program(ARCH["x86_64"], network=True)
    assert {verdict(program, ARCH["x86_64"], x32 | n, 0) for n in range(550)} == {EPERM}
