"""Earlier answers of the discovery child, kept in the store until something behind them changes."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

from zsar_bench import __version__
from zsar_bench.catalogue_parts import Source
from zsar_bench.codehash import file_digest
from zsar_bench.own.store import own_state
from zsar_bench.paths import home, make_folder
from zsar_bench.seals import Damaged, read_sealed, write_sealed

CORE = "core"  #: entry point of what the harness brings itself


def top_package(target: str) -> str:
    """The top-level package of ``package.module:Name``."""
    return target.partition(".")[0].partition(":")[0]


def _place(source: Source) -> str:
    """The file that would be imported for an entry point; another installation of the same
    version is other code."""
    found = None
    if source["kind"] == "entry-point":
        with contextlib.suppress(ImportError, ValueError):
            found = importlib.util.find_spec(top_package(source["value"]))
    return str(found.origin or list(found.submodule_search_locations or ())) if found else ""


class Kept:
    """Earlier answers of the discovery child, in the store.

    Args:
        refresh: whether they are to be passed over.
    """

    def __init__(self, refresh: bool) -> None:
        self.refresh = refresh
        self.digests: dict[str, str] = {}  # plugins share files: each is read once

    def part(self, source: Source) -> dict[str, Any] | None:
        """What a plugin brings, if every file behind it still reads the same."""
        part = self._read(self._of_part(source))
        if part is None or any(self._digest(f) != found for f, found in part["files"].items()):
            return None
        return part

    def keep_part(self, source: Source, part: dict[str, Any]) -> None:
        """Keep it unless it is broken: the files that would mend it are not all known."""
        if part["row"]["status"] == "ok":
            self._write(self._of_part(source), part)

    def machine(self) -> dict[str, Any] | None:
        """What torch said of this machine."""
        return self._read(self._of_machine())

    def keep_machine(self, machine: dict[str, Any]) -> None:
        """Keep it unless torch could not say."""
        if "error" not in machine:
            self._write(self._of_machine(), machine)

    def _of_part(self, source: Source) -> Path:
        own = own_state() if source["name"] == CORE else []
        return self._file([source, _place(source), own])

    def _of_machine(self) -> Path:
        torch = ""
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            torch = importlib.metadata.version("torch")
        card = Path("/dev/nvidia0").exists()
        return self._file([torch, os.environ.get("CUDA_VISIBLE_DEVICES", ""), card])

    def _file(self, asked: list[Any]) -> Path:
        text = json.dumps([sys.executable, __version__, asked])
        return home() / "catalogue" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.sealed"

    def _read(self, path: Path) -> dict[str, Any] | None:
        if self.refresh:
            return None
        try:
            payload = read_sealed(path)
            return None if payload is None else dict(json.loads(payload))
        except (Damaged, OSError):
            return None

    def _write(self, path: Path, answer: dict[str, Any]) -> None:
        make_folder(path.parent)
        write_sealed(path, json.dumps(answer).encode())  # unsorted: parameters keep their order

    def _digest(self, name: str) -> str:
        if name not in self.digests:
            try:
                self.digests[name] = file_digest(Path(name))  # an asset may be large
            except OSError:
                self.digests[name] = ""
        return self.digests[name]
