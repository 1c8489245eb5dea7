"""The checkpoint stream: checkpoints and states that a training worker sends through its pipe.

Files that a worker writes are never read. The parent stores checkpoints and states in the order of
their arrival, so that a stored checkpoint implies that every earlier state is stored.
"""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Any

from zsar_bench.common.checksums import Damaged, read_sealed, write_sealed
from zsar_bench.common.files import make_folder
from zsar_bench.errors import RunFailed
from zsar_bench.sandbox.client import Worker

CHECKPOINT = "checkpoint.sealed"
#: Header of a checkpoint: its step, the last reported step, and the steps of the schedule.
POSITION = struct.Struct("<qqq")


def receive_fit(worker: Worker, folder: Path, owner: str, most: int = 0) -> tuple[int, bytes]:
    """Receive and store checkpoints and states of a fit until it is done.

    Args:
        worker: which runs the fit.
        folder: where checkpoint and states are stored.
        owner: identifies the fit; its files are sealed with it.
        most: number of states that were requested.

    Returns:
        Steps of its schedule (0 if not reported) and the fitted state.

    Raises:
        RunFailed: if the fit fails, or the worker (untrusted code) sends an invalid message.
    """

    while True:
        message = worker.answer()
        if not isinstance(message, dict):
            raise RunFailed("the worker sent tensors that nobody asked for")
        if "keep" in message:
            most -= 1
            if most < 0:
                raise RunFailed("the worker sent more states than were requested")
            states = make_folder(folder / "states")
            write_sealed(states / f"{_number(message['keep'])}.sealed", _tensors(worker), owner)
        elif "checkpoint" in message:
            steps = [_number(message.get(n)) for n in ("checkpoint", "reported", "total")]
            write_sealed(folder / CHECKPOINT, POSITION.pack(*steps) + _tensors(worker), owner)
        elif "fitted" in message:
            return _number(message.get("total")), _tensors(worker)
        else:
            raise RunFailed("the worker did not report that it had fitted")


def expect(answer: Any, key: str, meaning: str) -> None:
    """Check that an answer contains a key.

    Raises:
        RunFailed: if it does not: ``the worker did not report that <meaning>``.
    """
    if not isinstance(answer, dict) or key not in answer:
        raise RunFailed(f"the worker did not report that {meaning}")


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise RunFailed("the worker sent an invalid step")
    return value


def _tensors(worker: Worker) -> bytes:
    blob = worker.answer()
    if not isinstance(blob, bytes):
        raise RunFailed("the worker sent no tensors where they were expected")
    return blob


def stored_checkpoint(folder: Path, owner: str) -> str:
    """Path of the checkpoint to continue from; empty if there is no valid one."""
    path = folder / CHECKPOINT
    try:
        if read_sealed(path, owner) is not None:
            return str(path)
    except Damaged:
        path.unlink(missing_ok=True)  # start again rather than continue wrongly
    shutil.rmtree(folder / "states", ignore_errors=True)
    return ""


def empty_folder(path: Path) -> Path:
    """An empty folder for a worker; files of an earlier worker are deleted."""
    shutil.rmtree(path, ignore_errors=True)
    return make_folder(path)


def confinement_of(worker: Worker) -> dict[str, Any]:
    """How a worker was confined, and which accesses it was refused."""
    return {"confinement": vars(worker.confinement), "denied": worker.denied}
