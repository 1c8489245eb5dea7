"""What a training worker hands over, and what it gets to continue from: through the pipe alone.

Nobody reads what a worker writes to files. The parent stores checkpoints and states in the
order in which they come, so that whoever has a checkpoint also has every state before it.
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
#: In front of a checkpoint: its step, the last one reported, and the steps of the schedule.
POSITION = struct.Struct("<qqq")


def follow(worker: Worker, folder: Path, owner: str, most: int = 0) -> tuple[int, bytes]:
    """Store what a fit hands over until it is done.

    Args:
        worker: that fits.
        folder: where checkpoint and states are kept.
        owner: what fit this is; its files are sealed for it.
        most: states that were asked for; nobody stores more.

    Returns:
        Steps of its schedule (0 if it never said) and the state it leaves behind.

    Raises:
        RunFailed: as the worker does, or if it says what it should not: plugin code runs in it.
    """

    while True:
        said = worker.answer()
        if not isinstance(said, dict):
            raise RunFailed("the worker sent tensors that nobody asked for")
        if "keep" in said:
            most -= 1
            if most < 0:
                raise RunFailed("the worker sent more states than were asked for")
            states = make_folder(folder / "states")
            write_sealed(states / f"{_number(said['keep'])}.sealed", _tensors(worker), owner)
        elif "checkpoint" in said:
            steps = [_number(said.get(n)) for n in ("checkpoint", "reported", "total")]
            write_sealed(folder / CHECKPOINT, POSITION.pack(*steps) + _tensors(worker), owner)
        elif "fitted" in said:
            return _number(said.get("total")), _tensors(worker)
        else:
            raise RunFailed("the worker did not say that it had fitted")


def expect(answer: Any, word: str, said: str) -> None:
    """An answer that must hold a word.

    Raises:
        RunFailed: if it does not: ``the worker did not say that <said>``.
    """
    if not isinstance(answer, dict) or word not in answer:
        raise RunFailed(f"the worker did not say that {said}")


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise RunFailed("the worker named a step that is none")
    return value


def _tensors(worker: Worker) -> bytes:
    blob = worker.answer()
    if not isinstance(blob, bytes):
        raise RunFailed("the worker sent no tensors where some were due")
    return blob


def stored_checkpoint(folder: Path, owner: str) -> str:
    """The checkpoint to continue from; empty if there is none, or none that is whole."""
    path = folder / CHECKPOINT
    try:
        if read_sealed(path, owner) is not None:
            return str(path)
    except Damaged:
        path.unlink(missing_ok=True)  # start again rather than continue wrongly
    shutil.rmtree(folder / "states", ignore_errors=True)
    return ""


def own_folder(path: Path) -> Path:
    """An empty folder for a worker. Whatever an earlier one has left there is gone."""
    shutil.rmtree(path, ignore_errors=True)
    return make_folder(path)


def seen_by(worker: Worker) -> dict[str, Any]:
    """How a worker was confined, and what it was refused."""
    return {"confinement": vars(worker.confinement), "denied": worker.denied}
