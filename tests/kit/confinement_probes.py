"""What plugin code might try, run in a process of its own with or without walls.

    python wall_probes.py request.json

The request holds ``rules`` (or null) and ``place`` (what the attempts aim at); the answer on
standard output is ``{attempt: "done: EVIDENCE" | "refused: ERRNO" | "failed: ..."}``. Every
attempt runs in a fork of its own, so that none spoils the next.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
ATTEMPTS: dict[str, Callable[[dict], object]] = {}
USER, MOUNTS = 0x10000000, 0x20000  #: CLONE_NEWUSER, CLONE_NEWNS


def attempt(function: Callable[[dict], object]) -> Callable[[dict], object]:
    ATTEMPTS[function.__name__] = function
    return function


def checked(result: int) -> int:
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def raw(number: int, *arguments: object) -> int:
    return checked(LIBC.syscall(ctypes.c_long(number), *map(word, arguments)))


def word(value: object) -> object:
    return ctypes.c_long(value) if isinstance(value, int) else value


# Files.


@attempt
def read_outside(place: dict) -> object:
    return Path(place["secret"]).read_text()


@attempt
def list_outside(place: dict) -> object:
    return os.listdir(place["outside"])


@attempt
def create_outside(place: dict) -> object:
    return Path(place["outside"], "made").write_text("x")


@attempt
def overwrite_outside(place: dict) -> object:
    return os.close(os.open(place["victim_file"], os.O_WRONLY))


@attempt
def cut_outside(place: dict) -> object:
    return os.truncate(place["victim_file"], 3)


@attempt
def remove_outside(place: dict) -> object:
    return Path(place["outside"], "to-remove").unlink()


@attempt
def make_folder_outside(place: dict) -> object:
    return Path(place["outside"], "folder").mkdir()


@attempt
def symlink_out(place: dict) -> object:
    link = Path(place["workdir"], "link")
    with contextlib.suppress(FileExistsError):
        link.symlink_to(place["secret"])
    return link.read_text()


@attempt
def folder_symlink_out(place: dict) -> object:
    link = Path(place["workdir"], "folder-link")
    with contextlib.suppress(FileExistsError):
        link.symlink_to(place["outside"])
    return os.listdir(link)


@attempt
def hard_link_in(place: dict) -> object:
    """Bring the secret into the workdir under another name."""
    link = Path(place["workdir"], "hard")
    link.unlink(missing_ok=True)
    os.link(place["secret"], link)
    return link.read_text()


@attempt
def hard_link_out(place: dict) -> object:
    own = Path(place["workdir"], "own")
    own.write_text("x")
    return os.link(own, Path(place["outside"], "linked"))


@attempt
def move_in(place: dict) -> object:
    return os.rename(Path(place["outside"], "to-move"), Path(place["workdir"], "moved"))


@attempt
def move_out(place: dict) -> object:
    own = Path(place["workdir"], "own-to-move")
    own.write_text("x")
    return os.rename(own, Path(place["outside"], "moved-out"))


@attempt
def write_the_bundle(place: dict) -> object:
    return Path(place["bundle"]).write_text(Path(place["bundle_copy"]).read_text())


@attempt
def read_among_names(place: dict) -> object:
    return Path(place["names"], "listed").read_text()


@attempt
def mode_outside(place: dict) -> object:
    return os.chmod(place["victim_file"], 0o640)


@attempt
def time_outside(place: dict) -> object:
    return os.utime(place["victim_file"], (1, 1))


@attempt
def attribute_outside(place: dict) -> object:
    return os.setxattr(place["victim_file"], "user.note", b"x")


@attempt
def watch_outside(place: dict) -> object:
    watcher = checked(LIBC.inotify_init1(0))
    return checked(LIBC.inotify_add_watch(watcher, place["outside"].encode(), 0xFFF))


@attempt
def shared_memory_file(place: dict) -> object:
    path = Path("/dev/shm", place["token"])
    path.write_text("x")
    return path.unlink()


@attempt
def undeclared_temporary(place: dict) -> object:
    path = Path("/tmp", place["token"])
    path.write_text("x")
    return path.unlink()


# Other processes.


@attempt
def environment_of_parent(place: dict) -> object:
    return len(Path(f"/proc/{place['parent']}/environ").read_bytes())


@attempt
def maps_of_parent(place: dict) -> object:
    return len(Path(f"/proc/{place['parent']}/maps").read_bytes())


@attempt
def descriptors_of_parent(place: dict) -> object:
    return os.listdir(f"/proc/{place['parent']}/fd")


@attempt
def command_of_parent(place: dict) -> object:
    return Path(f"/proc/{place['parent']}/cmdline").read_bytes() and "read"


@attempt
def environment_of_victim(place: dict) -> object:
    return b"WALL_SECRET" in Path(f"/proc/{place['victim']}/environ").read_bytes() and "read"


@attempt
def memory_file_of_victim(place: dict) -> object:
    with open(f"/proc/{place['victim']}/mem", "rb", buffering=0) as memory:
        memory.seek(place["address"])
        return memory.read(6).decode()


@attempt
def memory_of_victim(place: dict) -> object:
    buffer = ctypes.create_string_buffer(6)
    here = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 6)
    there = (ctypes.c_void_p * 2)(place["address"], 6)
    pid = ctypes.c_int(place["victim"])
    one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
    checked(LIBC.process_vm_readv(pid, here, one, there, one, none))
    return buffer.raw.decode()


@attempt
def trace_victim(place: dict) -> object:
    attach, detach = 16, 17
    pid = ctypes.c_int(place["victim"])
    checked(LIBC.ptrace(attach, pid, None, None))
    os.waitpid(place["victim"], 0x40000000)  # __WALL
    return checked(LIBC.ptrace(detach, pid, None, None))


@attempt
def signal_victim(place: dict) -> object:
    return os.kill(place["victim"], signal.SIGCONT)


@attempt
def signal_parent(place: dict) -> object:
    return os.kill(place["parent"], 0)


@attempt
def signal_victim_by_descriptor(place: dict) -> object:
    return signal.pidfd_send_signal(os.pidfd_open(place["victim"]), signal.SIGCONT)


@attempt
def limits_of_victim(place: dict) -> object:
    soft, hard = resource.prlimit(place["victim"], resource.RLIMIT_NOFILE)
    return resource.prlimit(place["victim"], resource.RLIMIT_NOFILE, (soft, hard)) and "set"


# Sockets and shared memory.


@attempt
def tcp(place: dict) -> object:
    return socket.create_connection(("127.0.0.1", place["tcp"]), 5).close()


@attempt
def tcp_listen(place: dict) -> object:
    return socket.create_server(("127.0.0.1", 0)).close()


@attempt
def udp(place: dict) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        return sender.sendto(b"hello", ("127.0.0.1", place["udp"]))


@attempt
def abstract_socket(place: dict) -> object:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect(f"\0{place['token']}")


@attempt
def named_socket(place: dict) -> object:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect(place["named_socket"])


@attempt
def system_v_memory(place: dict) -> object:
    made = checked(LIBC.shmget(ctypes.c_int(0), ctypes.c_size_t(4096), 0o1600))
    return checked(LIBC.shmctl(made, 0, None))


@attempt
def system_v_queue(place: dict) -> object:
    made = checked(LIBC.msgget(ctypes.c_int(0), 0o1600))
    return checked(LIBC.msgctl(made, 0, None))


# Leaving.


@attempt
def own_session(place: dict) -> object:
    return os.setsid() and "left"


@attempt
def own_group(place: dict) -> object:
    return os.setpgid(0, 0)


@attempt
def user_namespace(place: dict) -> object:
    return checked(LIBC.unshare(USER))


@attempt
def user_namespace_by_clone(place: dict) -> object:
    number = 56 if os.uname().machine == "x86_64" else 220
    child = raw(number, USER | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    return os.waitpid(child, 0)[1]


@attempt
def mounting(place: dict) -> object:
    # Where namespaces may be made the mount is made in one, and ends with this process.
    private = LIBC.unshare(MOUNTS) == 0 or LIBC.unshare(USER | MOUNTS) == 0
    if private:
        checked(LIBC.mount(b"none", b"/", None, ctypes.c_ulong(0x44000), None))
    target = place["workdir"].encode()
    return checked(LIBC.mount(b"none", target, b"tmpfs", ctypes.c_ulong(0), None))


@attempt
def calls_of_another_abi(place: dict) -> object:
    """``int 0x80`` reaches the 32-bit calls, whose numbers mean others: getpid is 20."""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8" + struct.pack("<I", 20) + b"\xcd\x80\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    answer = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    if answer < 0:
        raise OSError(-answer, "refused")
    return answer == os.getpid() and "called"


# What must stay possible.


@attempt
def allowed_work(place: dict) -> object:
    """Bundle, workdir, renames between its folders, pairs of sockets, children, own /proc."""
    assert Path(place["bundle"]).read_text() == "bundle"
    assert os.listdir(place["names"]) == ["listed"]
    inner = Path(place["workdir"], "inner")
    inner.mkdir(exist_ok=True)
    Path(place["workdir"], "a").write_text("a")
    os.replace(Path(place["workdir"], "a"), inner / "b")
    os.truncate(inner / "b", 0)
    (inner / "b").unlink()
    left, right = socket.socketpair()
    left.send(b"x")
    assert right.recv(1) == b"x"
    child = os.fork()
    if child == 0:
        os._exit(7)
    os.kill(child, 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert Path("/dev/null").write_text("x") == 1
    resource.getrlimit(resource.RLIMIT_NOFILE)
    os.urandom(4)
    return "fine"


def run(function: Callable[[dict], object], place: dict) -> str:
    """One attempt in a fork; returns what came of it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = f"done: {json.dumps(function(place))}"
        except OSError as error:
            said = f"refused: {errno.errorcode.get(error.errno or 0, error)}"
        except BaseException as error:
            said = f"failed: {type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        said = lines.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return said or f"died: {status}"


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    place = request["place"] | {"parent": os.getppid()}
    answer: dict[str, object] = {}
    if request["rules"] is not None:
        from zsar_bench.sandbox.confinement.confine import confine
        from zsar_bench.sandbox.confinement.rules import Rules

        rules = {k: tuple(v) if isinstance(v, list) else v for k, v in request["rules"].items()}
        answer["confinement"] = vars(confine(Rules(**rules)))
    chosen = request.get("attempts") or list(ATTEMPTS)
    answer |= {name: run(ATTEMPTS[name], place) for name in chosen}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
