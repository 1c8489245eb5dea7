"""What a training worker hands over, and what it gets to continue from: through the pipe alone.

Nobody reads what a worker writes to files. The parent stores checkpoints and states in the
order in which they come, so that whoever has a checkpoint also has every state before it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from zsar_bench.errors import RunFailed
from zsar_bench.paths import make_folder
from zsar_bench.sandbox import Worker
from zsar_bench.seals import Damaged, sealed_content, write_sealed

CHECKPOINT = "checkpoint.sealed"


def follow(worker: Worker, folder: Path) -> tuple[int, bytes]:
    """Store what a fit hands over until it is done.

    Returns:
        Steps of its schedule (0 if it never said) and the state it leaves behind.
    """
    from zsar_bench.context import POSITION

    states = folder / "states"
    while True:
        said = worker.answer()
        if not isinstance(said, dict):
            raise RunFailed("the worker sent tensors that nobody asked for")
        if "keep" in said:
            write_sealed(make_folder(states) / f"{int(said['keep'])}.sealed", _tensors(worker))
        elif "checkpoint" in said:
            position = POSITION.pack(int(said["checkpoint"]), int(said["reported"]))
            write_sealed(folder / CHECKPOINT, position + _tensors(worker))
        elif "fitted" in said:
            return int(said["total"]), _tensors(worker)
        else:
            raise RunFailed("the worker did not say that it had fitted")


def _tensors(worker: Worker) -> bytes:
    blob = worker.answer()
    if not isinstance(blob, bytes):
        raise RunFailed("the worker sent no tensors where some were due")
    return blob


def stored_checkpoint(folder: Path) -> str:
    """The checkpoint to continue from; empty if there is none, or none that is whole."""
    path = folder / CHECKPOINT
    try:
        sealed_content(path)
    except (Damaged, OSError):
        path.unlink(missing_ok=True)  # start again rather than continue wrongly
        shutil.rmtree(folder / "states", ignore_errors=True)
        return ""
    return str(path)


def own_folder(path: Path) -> Path:
    """An empty folder for a worker. Whatever an earlier one has left there is gone."""
    shutil.rmtree(path, ignore_errors=True)
    return make_folder(path)


def seen_by(worker: Worker) -> dict[str, Any]:
    """How a worker was confined, and what it was refused."""
    return {"walls": vars(worker.walls), "denied": worker.denied}
