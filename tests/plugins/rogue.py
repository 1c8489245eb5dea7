"""A reporter that does to its worker whatever it is asked to; the answer is JSON."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def act(comparison: dict[str, Any], **rest: Any) -> str:
    """``{"do": NAME, ...}``: call the function of this name with what else is there."""
    asked = dict(comparison)
    return json.dumps(globals()[asked.pop("do")](**asked))


# --- What it is born with ----------------------------------------------------------------------


def look() -> dict[str, Any]:
    listed = {name: os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/dev/fd")}
    return {
        "descriptors": {n: p for n, p in listed.items() if os.path.exists(f"/proc/self/fd/{n}")},
        "environment": dict(os.environ),
        "born with": Path("/proc/self/environ").read_bytes().decode().split("\0"),
        "folder": os.getcwd(),
        "pid": os.getpid(),
        "group": os.getpgrp(),
        "session": os.getsid(0),
        "supervisor": os.getppid(),
        "torch": "torch" in sys.modules,
        "optimisers": "torch._dynamo" in sys.modules,
        "path": sys.path,
        "core": __import__("resource").getrlimit(__import__("resource").RLIMIT_CORE),
    }


# --- Ends --------------------------------------------------------------------------------------


def leave(code: int) -> None:
    os._exit(code)


def exit(what: str) -> None:
    sys.exit(what)


def segfault() -> None:
    ctypes.string_at(0)


def spin() -> None:
    while True:
        pass


def ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    print("here I stay", flush=True)
    while True:
        time.sleep(1)


def allocate(size: int, chunk: int, pause: float) -> int:
    kept = []
    while len(kept) * chunk < size:
        kept.append(b"\1" * chunk)
        time.sleep(pause)
    return len(kept)


def allocate_in_children(count: int, size: int) -> None:
    for _ in range(count):
        if os.fork() == 0:
            kept = b"\1" * size
            time.sleep(60)
            os._exit(len(kept))
    time.sleep(60)


def share_with_children(count: int, size: int) -> int:
    kept = b"\1" * size
    for _ in range(count):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    time.sleep(1)
    return len(kept)


def kill_supervisor() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


# --- What stays --------------------------------------------------------------------------------


def _stay(file: str) -> None:
    with open(file, "a") as out:
        out.write(f"{os.getpid()}\n")
    while True:
        time.sleep(1)


def children(file: str, count: int) -> int:
    for _ in range(count):
        if os.fork() == 0:
            _stay(file)
    return _until(file, count)


def daemon(file: str) -> int:
    """Forked twice, in a session of its own, all descriptors closed."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 100)
            _stay(file)
        os._exit(0)
    os.wait()
    return _until(file, 1)


def program(file: str) -> int:
    """Another program, in a session of its own."""
    code = f"import os, time; open({file!r}, 'a').write(f'{{os.getpid()}}\\n'); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    return _until(file, 1)


def comet(file: str) -> int:
    """A process that forks and ends, again and again, each in a session of its own."""
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            if os.fork():
                os._exit(0)
            os.setsid()
            with open(file, "a") as out:
                out.write(f"{os.getpid()}\n")
    return _until(file, 20)


def _until(file: str, lines: int) -> int:
    while not os.path.exists(file) or Path(file).read_text().count("\n") < lines:
        time.sleep(0.01)
    return lines


# --- What it says ------------------------------------------------------------------------------


def shout(megabytes: int) -> str:
    os.write(1, b"the very first line\n")
    noise = b"noise" * 200_000 + b"\n"
    for _ in range(megabytes):
        view = memoryview(noise)
        while view:
            view = view[os.write(1, view) :]
    os.write(2, b"the very last line\n")
    return "said"


def control_signs() -> None:
    raise RuntimeError("\x1b[2J\x1b]0;owned\x07 said")


def _answers() -> int:
    """The descriptor of the pipe that leads to the parent."""
    found = []
    for name in os.listdir("/dev/fd"):
        try:
            link, flags = os.readlink(f"/proc/self/fd/{name}"), Path(f"/proc/self/fdinfo/{name}")
            writes = int(flags.read_text().split("flags:")[1].split()[0], 8) & 3 == os.O_WRONLY
        except OSError:
            continue
        if int(name) > 2 and link.startswith("pipe:") and writes:
            found.append(int(name))
    assert len(found) == 1, found
    return found[0]


def answer(kind: str, payload: str, length: int | None = None, stay: bool = False) -> None:
    data = payload.encode()
    size = len(data) if length is None else length
    os.write(_answers(), struct.pack("<cQ", kind.encode(), size) + data)
    if stay:
        time.sleep(60)
    os._exit(0)


def close_pipe() -> None:
    os.close(_answers())
    time.sleep(60)


# --- What it reaches for -----------------------------------------------------------------------


def reach(paths: dict[str, str]) -> dict[str, str]:
    """Try everything once; what became of each."""
    import socket

    attempts = {
        "read": lambda: Path(paths["secret"]).read_text(),
        "read again": lambda: Path(paths["secret"]).read_text(),
        "list": lambda: os.listdir(paths["folder"]),
        "write": lambda: Path(paths["new"]).write_text("mine"),
        "remove": lambda: os.remove(paths["secret"]),
        "link": lambda: os.symlink(paths["secret"], "shortcut"),
        "follow": lambda: Path("shortcut").read_text(),
        "parent": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
        "signal": lambda: os.kill(os.getppid(), 0),
        "connect": lambda: socket.create_connection(("127.0.0.1", 9), 1),
        "own": lambda: Path("own").write_text("fine"),
        "absent": lambda: Path("/nowhere/at/all").read_bytes(),
    }
    found = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            found[name] = "done"
        except OSError as error:
            found[name] = type(error).__name__
    return found


def reach_much(folder: str) -> int:
    for number in range(200):
        with contextlib.suppress(OSError):
            os.listdir(f"{folder}/{number}")
    return 200
