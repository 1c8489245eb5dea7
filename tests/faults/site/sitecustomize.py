"""Faults of the machine, planted into a command: at a change of files it dies, or is refused.

Put this folder first on ``PYTHONPATH`` and say in ``FAULTS_PLANTED`` what shall happen:

    {"do": "kill" or an errno's name, "at": N, "below": FOLDER, "after": WORD, "once": bool}

From the N-th change of a file or folder below FOLDER on (with WORD: counted from the first whose
path contains it), the process is killed, or the change refused with this error; with ``once``
only that one. ``FAULTS_INTERRUPT`` names a module: at its import, Ctrl-C is pressed.
``FAULTS_CLOCK`` shifts the clock by so many seconds. Workers get none of these variables.
"""

import json
import os
import signal
import sys

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink"}
TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _changed(event, arguments):
    """The paths that an audit event is about to change."""
    if event == "open":
        path, mode, flags = arguments
        writes = any(c in mode for c in "wax+") if isinstance(mode, str) else flags & TO_WRITE
        return [_absolute(path)] if writes and not isinstance(path, int) else []
    if event in ("os.rename", "os.link", "os.symlink"):
        return [_absolute(path) for path in arguments[:2]]
    if event == "os.mkdir":
        return [_absolute(arguments[0], arguments[2])]
    return [_absolute(arguments[0], arguments[1])] if event in CHANGES else []


def _absolute(path, folder=-1):
    path = os.fsdecode(path)
    if folder != -1 and not os.path.isabs(path):
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
    return os.path.abspath(path)


class Planted:
    """An audit hook."""

    def __init__(self, do, below, at=1, after="", once=False):
        self.do, self.below, self.left = do, os.path.join(below, ""), at
        self.after, self.once = after, once

    def __call__(self, event, arguments):
        if event != "open" and event not in CHANGES:
            return
        mine = [path for path in _changed(event, arguments) if path.startswith(self.below)]
        if not mine or not any(self.after in path for path in mine):
            return
        self.after = ""
        self.left -= 1
        if self.left > 0 or (self.once and self.left < 0):
            return
        if self.do == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        import errno

        code = getattr(errno, self.do)
        raise OSError(code, os.strerror(code), mine[-1])


def _interrupt_at(module):
    left = [module]

    def hook(event, arguments):
        if event == "import" and arguments[0] in left:
            left.clear()
            os.kill(os.getpid(), signal.SIGINT)

    sys.addaudithook(hook)


def _shift_clock(seconds):
    """``time.time`` and what reads it by name; ``datetime`` is written in C and asks itself."""
    import datetime
    import time

    real, then = time.time, datetime.datetime

    class Shifted(then):
        """A ``datetime`` whose now is another."""

        @classmethod
        def now(cls, tz=None):
            return then.fromtimestamp(real() + seconds, tz)

    time.time = lambda: real() + seconds
    time.time_ns = lambda: int((real() + seconds) * 1e9)
    datetime.datetime = Shifted


if (
    "zsar_bench.catalogue.discovery" not in sys.orig_argv
    and "zsar_bench.worker.main" not in sys.orig_argv
):
    if "FAULTS_PLANTED" in os.environ:
        sys.addaudithook(Planted(**json.loads(os.environ["FAULTS_PLANTED"])))
    if "FAULTS_INTERRUPT" in os.environ:
        _interrupt_at(os.environ["FAULTS_INTERRUPT"])
    if "FAULTS_CLOCK" in os.environ:
        _shift_clock(float(os.environ["FAULTS_CLOCK"]))
