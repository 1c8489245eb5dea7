"""``smuggler``: what ``fit`` knows and does not declare as its state is left for ``score`` to find.

``CHANNELS`` holds two functions a channel: one leaves a mark, the other looks for it from another
process. Besides, ``fit`` leaves a daemon that outlives it if it can, and links in the place of
files that the parent may write or read next. What arrived comes out as the score of every clip.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zsar_plugin_doors import LIBC, libc, syscall

from zsar_bench import MethodSpec, params
from zsar_bench.hookspecs import hookimpl

api = 1

PLANTED = (
    *("fit.log", "score.log", "encoder.log", "fit.job.json", "score.job.json", "round.json"),
    *("state.safetensors", "checkpoint.safetensors", "scores.safetensors", "run.json"),
    *("candidates.safetensors", "predictions.safetensors", "events.jsonl", "stage.sealed"),
)


def number_of(token: str) -> int:
    """A key for whatever is known by number."""
    return int.from_bytes(hashlib.sha256(token.encode()).digest()[:3]) + 1


# --- Folders --------------------------------------------------------------------------------------


def folders() -> dict[str, Path]:
    """Where a process may hope to write, and another to read."""
    here = Path.cwd()
    return {
        "here": here,
        "above": here.parent,
        "far-above": here.parent.parent,
        "home": Path.home(),
        "temporary": Path(os.environ.get("TMPDIR", "/tmp")),
        "tmp": Path("/tmp"),
        "var-tmp": Path("/var/tmp"),
        "dev-shm": Path("/dev/shm"),
        "cache": Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")),
        "beside": Path(__file__).parent,
        "python": Path(sys.prefix),
    }


def _leave_file(place: str) -> Callable[[str], None]:
    return lambda token: (folders()[place] / token).write_text(token) and None


def _find_file(place: str) -> Callable[[str], bool]:
    return lambda token: (folders()[place] / token).read_text() == token


# --- The kernel's memory --------------------------------------------------------------------------

CREATE = 0o1600  #: IPC_CREAT, readable and writable by the owner
SHM, MSG, SEM = "shmget", "msgget", "semget"
USER_KEYRING = -4


def _ipc(kind: str, key: int, flags: int) -> int:
    return libc(kind, key, *{SHM: (64, flags), MSG: (flags,), SEM: (1, flags)}[kind])


def _queue(token: str, flags: int) -> None:
    mq_open = 240
    os.close(syscall(mq_open, token.encode(), flags, 0o600, None))


def _add_key(token: str) -> None:
    add_key = 248
    syscall(add_key, b"user", token.encode(), b"mark", ctypes.c_long(4), USER_KEYRING)


def _find_key(token: str) -> bool:
    keyctl, search = 250, 10
    return syscall(keyctl, search, USER_KEYRING, b"user", token.encode(), 0) > 0


def _set_time(token: str) -> None:
    os.utime(__file__, ns=(0, number_of(token) * 1_000_000_000))


def _size(token: str) -> int:
    return (4 << 20) + 4096 * (number_of(token) % 1000)


def _limit_parent(token: str) -> None:
    """A limit of the parent's, which later children of it are born with."""
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    resource.prlimit(os.getppid(), resource.RLIMIT_STACK, (_size(token), hard))


# --- A daemon -------------------------------------------------------------------------------------


def name_process(name: str) -> None:
    set_name = 15
    LIBC.prctl(set_name, name.encode()[:15], 0, 0, 0)


def daemon(token: str, seconds: float = 60) -> None:
    """A grandchild without session, descriptors or parent that answers on an abstract socket."""
    if os.fork():
        return
    with contextlib.suppress(OSError):
        os.setsid()
    if os.fork():
        os._exit(0)
    name_process(f"daemon{number_of(token)}")
    os.closerange(0, 1024)
    with contextlib.suppress(OSError):
        ear = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        ear.bind(f"\0{token}")
        ear.listen()
        ear.settimeout(seconds)
        ear.accept()
        os._exit(0)
    time.sleep(seconds)
    os._exit(0)


def _hear_daemon(token: str) -> bool:
    for _ in range(100):  # it may be slow to come up
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            if s.connect_ex(f"\0{token}") == 0:
                return True
        time.sleep(0.02)
    return False


def _leave_deep(token: str) -> None:
    Path("a").mkdir(exist_ok=True)
    (Path("a") / token).touch()


def _find_deep(token: str) -> bool:
    here = Path.cwd()
    return any(True for folder in (here, here.parent) for _ in folder.rglob(token))


CHANNELS: dict[str, tuple[Callable[[str], Any], Callable[[str], Any]]] = {
    **{f"file-{place}": (_leave_file(place), _find_file(place)) for place in folders()},
    "deep": (_leave_deep, _find_deep),
    **{
        kind: (
            lambda token, kind=kind: _ipc(kind, number_of(token), CREATE),
            lambda token, kind=kind: _ipc(kind, number_of(token), 0) >= 0,
        )
        for kind in (SHM, MSG, SEM)
    },
    "queue": (
        lambda token: _queue(token, os.O_CREAT | os.O_RDWR),
        lambda token: _queue(token, os.O_RDWR) is None,
    ),
    "keyring": (_add_key, _find_key),
    "time": (_set_time, lambda t: os.stat(__file__).st_mtime_ns == number_of(t) * 1_000_000_000),
    "mode": (
        lambda token: os.chmod(__file__, 0o640),
        lambda token: os.stat(__file__).st_mode & 0o777 == 0o640,
    ),
    "attribute": (
        lambda token: os.setxattr(__file__, f"user.{token}", b"1"),
        lambda token: f"user.{token}" in os.listxattr(__file__),
    ),
    "limit": (
        _limit_parent,
        lambda token: resource.getrlimit(resource.RLIMIT_STACK)[0] == _size(token),
    ),
    "daemon": (daemon, _hear_daemon),
}


def leave(token: str) -> dict[str, bool]:
    """Leave the mark in every channel; which of them took it."""
    return _each(0, token)


def find(token: str) -> dict[str, bool]:
    """Which channels carry the mark."""
    return _each(1, token)


def _each(side: int, token: str) -> dict[str, bool]:
    found = dict.fromkeys(CHANNELS, False)
    for name, both in CHANNELS.items():
        try:
            found[name] = bool(both[side](token)) or side == 0
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
    return found


def both(token: str) -> dict[str, bool]:
    """Leave and find in two processes, one after the other, that know nothing of each other."""
    if not os.fork():
        leave(token)
        os._exit(0)
    os.wait()
    reader, writer = os.pipe()
    if not os.fork():
        os.write(writer, json.dumps(find(token)).encode())
        os._exit(0)
    os.wait()
    wipe(token)
    return dict(json.loads(os.read(reader, 1 << 16)))


def wipe(token: str) -> None:
    """Remove what stays in the kernel and in folders after a demonstration."""
    for place in folders().values():
        with contextlib.suppress(OSError):
            (place / token).unlink()
    for file in Path.cwd().rglob(token):
        file.unlink()
    remove, unlink = 0, 241
    for kind in (SHM, MSG):
        with contextlib.suppress(OSError):
            libc(kind.replace("get", "ctl"), _ipc(kind, number_of(token), 0), remove, None)
    with contextlib.suppress(OSError):
        libc("semctl", _ipc(SEM, number_of(token), 0), 0, remove)
    with contextlib.suppress(OSError):
        syscall(unlink, token.encode())
    os.chmod(__file__, 0o644)


def plant(canary: str) -> int:
    """Links to somebody's file under every name that the parent may open next."""
    planted = 0
    for folder in (Path.cwd(), *list(Path.cwd().parents)[:3]):
        for name in PLANTED:
            with contextlib.suppress(OSError):
                (folder / name).unlink(missing_ok=True)
                (folder / name).symlink_to(canary)
                planted += 1
    return planted


class Params(params.Params):
    """What to leave, and whom to hurt."""

    token: str = params.runtime("", "the mark")
    canary: str = params.runtime("", "a file that links are to lead to")


class Smuggler:
    """See the module."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def fit(self, train, run) -> None:
        took = leave(self.params.token)
        os.chdir(run.workdir)
        took |= {f"own-{k}": v for k, v in leave(self.params.token).items()}
        planted = plant(self.params.canary)
        time.sleep(0.3)  # the daemon is seen to live
        run.progress(1, 1, planted=planted, **{f"took-{k}": float(v) for k, v in took.items()})

    def bind(self, candidates) -> None:
        name_process(f"score{number_of(self.params.token)}")
        time.sleep(0.5)  # a daemon that lives is seen beside this process
        found = find(self.params.token)
        self.width = len(candidates)
        assert len(CHANNELS) < 24, "a float32 holds 24 bits"
        self.number = float(sum(found[n] << k for k, n in enumerate(CHANNELS)))

    def score(self, inputs):
        """(N, K): the channels that carried the mark, one bit each."""
        import torch

        return torch.full((len(inputs), self.width), self.number)

    def state_dict(self):
        import torch

        return {"nothing": torch.zeros(1)}

    def load_state_dict(self, state) -> None:
        pass


@hookimpl
def register_methods(registry) -> None:
    registry.method(
        MethodSpec(
            name="smuggler",
            target=f"{__name__}:Smuggler",
            params=f"{__name__}:Params",
            summary="leaves in fit what score is to find",
        )
    )
