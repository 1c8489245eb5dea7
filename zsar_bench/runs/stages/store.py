"""The store of stages.

    <results>/work/<key>/stage.sealed    what was made, and facts about it; written last
    <results>/work/<key>/...             its outputs, sealed for the key, and work in progress

A stage is made under an exclusive lock and used under a shared one, so that nobody deletes what
somebody reads. It is deleted when no unfinished run of a command needs it. What a killed command
leaves is taken up by the next that needs it. A stage whose file is damaged is made again.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from zsar_bench.common.checksums import Damaged, sealed_content, write_sealed
from zsar_bench.common.events import Event
from zsar_bench.common.files import WORK, locked
from zsar_bench.runs.stages.stage import Stage

ABOUT = "stage.sealed"

Json = dict[str, Any]


class _InUse(Exception):
    """Somebody makes or reads a stage."""


class Store:
    """The stages of a results folder.

    Args:
        results: the folder.
    """

    _checked: ClassVar[dict[Path, int]] = {}  #: stage.sealed -> its time stamp when all was whole

    def __init__(self, results: Path) -> None:
        self.folder = results / WORK

    def place(self, stage: Stage) -> Path:
        """The folder of a stage, made or not."""
        return self.folder / stage.key

    def about(self, stage: Stage) -> Json:
        """The facts about a finished stage.

        Raises:
            Damaged: if it is not finished.
        """
        about: Json = json.loads(sealed_content(self.place(stage) / ABOUT, stage.key))
        return about

    @contextmanager
    def made(self, stage: Stage, make: Callable[[Path], Json], on_event: Event) -> Iterator[Path]:
        """Make a stage, if nobody has, and keep it while the block runs.

        Args:
            stage: what is needed.
            make: makes it in a folder, in which a killed attempt may have left something;
                returns facts about it, with the names of its ``outputs``.
            on_event: gets a note if a damaged stage is made again.
        """
        folder = self.place(stage)
        while True:
            with locked(folder, shared=True):
                if self._fault(stage) == "":
                    yield folder
                    return
            with locked(folder):
                fault = self._fault(stage)
                if fault:
                    on_event({"stage": stage.kind, "note": f"{fault} It is made again."})
                    _empty(folder)
                if fault != "":
                    about = make(folder)
                    write_sealed(folder / ABOUT, json.dumps(about).encode(), stage.key)

    def _fault(self, stage: Stage) -> str | None:
        """What is damaged of a finished stage, empty if nothing; None: it is not finished."""
        folder = self.place(stage)
        about = folder / ABOUT
        try:
            stamp = about.stat().st_mtime_ns
        except FileNotFoundError:
            return None
        if self._checked.get(about) == stamp:
            return ""  # a state of gigabytes is hashed once a command
        try:
            for name in self.about(stage)["outputs"]:
                sealed_content(folder / name, stage.key)
        except Damaged as error:
            return error.what
        self._checked[about] = stamp
        return ""

    def sizes(self) -> dict[str, int]:
        """Key -> bytes of every stage, finished or not."""
        return {
            folder.name: sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            for folder in sorted(self.folder.glob("[!.]*"))
        }

    def drop(self, keys: Iterable[str]) -> None:
        """Delete stages that nobody uses."""
        for key in keys:
            folder = self.folder / key
            if not folder.is_dir():
                continue
            with suppress(_InUse), locked(folder, _refuse):
                shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.rmdir()


def _empty(folder: Path) -> None:
    """Delete all but the lock, which the caller holds."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


def _refuse() -> None:
    raise _InUse


class Leases:
    """Which runs of a command still need which stages.

    Args:
        runs: ids of the runs that are not finished.
        stages_of: a run's id -> keys of its stages; asked when the first run ends.
    """

    def __init__(self, runs: Iterable[str], stages_of: Callable[[str], Iterable[str]]) -> None:
        self._runs = tuple(runs)
        self._stages_of = stages_of
        self._lock = threading.Lock()

    @cached_property
    def _needs(self) -> dict[str, frozenset[str]]:
        return {run: frozenset(self._stages_of(run)) for run in self._runs}

    def end(self, run: str) -> frozenset[str]:
        """A run is finished; returns the keys that no other run needs."""
        with self._lock:
            keys = self._needs.pop(run, frozenset())
            return self._unused(keys)

    def unused(self, keys: Iterable[str]) -> frozenset[str]:
        """Those of some keys that no run needs."""
        with self._lock:
            return self._unused(frozenset(keys))

    def _unused(self, keys: frozenset[str]) -> frozenset[str]:
        return keys.difference(*self._needs.values())
