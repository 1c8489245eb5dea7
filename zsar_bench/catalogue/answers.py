"""Cached answers of the discovery child, and how they are merged into the catalogue.

A *source* names a plugin: an entry point or a file. Each plugin is queried separately. The
catalogue contains all their answers, except names that two plugins claim. An answer stays in the
cache until a file behind it changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zsar_bench.catalogue.custom import custom_state
from zsar_bench.common.checksums import Damaged, read_sealed, write_sealed
from zsar_bench.common.code_digest import file_digest
from zsar_bench.common.files import home, make_folder
from zsar_bench.registry import KINDS
from zsar_bench.version import __version__

CORE = "core"  #: entry point of the built-in plugin


def top_package(target: str) -> str:
    """The top-level package of ``package.module:Name``."""
    return target.partition(".")[0].partition(":")[0]


def _origin(source: Source) -> str:
    """The file that would be imported for an entry point: two installations of one version may
    differ."""
    spec = None
    if source["kind"] == "entry-point":
        with contextlib.suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(top_package(source["value"]))
    return str(spec.origin or list(spec.submodule_search_locations or ())) if spec else ""


class AnswerCache:
    """Earlier answers of the discovery child, in the store.

    Args:
        refresh: whether they are ignored, so that all plugins are queried again.
    """

    def __init__(self, refresh: bool) -> None:
        self.refresh = refresh
        self.digests: dict[str, str] = {}  # plugins share files; each file is hashed once

    def part(self, source: Source) -> dict[str, Any] | None:
        """The cached answer for a plugin, if every file behind it is unchanged."""
        part = self._read(self._of_part(source))
        if part is None or any(self._digest(f) != d for f, d in part["files"].items()):
            return None
        return part

    def keep_part(self, source: Source, part: dict[str, Any]) -> None:
        """Store an answer, unless the plugin is broken: which files could repair it is unknown."""
        if part["row"]["status"] == "ok":
            self._write(self._of_part(source), part)

    def machine(self) -> dict[str, Any] | None:
        """The cached description of this machine by torch."""
        return self._read(self._of_machine())

    def keep_machine(self, machine: dict[str, Any]) -> None:
        """Store the description, unless torch failed."""
        if "error" not in machine:
            self._write(self._of_machine(), machine)

    def _of_part(self, source: Source) -> Path:
        state = custom_state() if source["name"] == CORE else []
        return self._file([source, _origin(source), state])

    def _of_machine(self) -> Path:
        torch = ""
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            torch = importlib.metadata.version("torch")
        card = Path("/dev/nvidia0").exists()
        return self._file([torch, os.environ.get("CUDA_VISIBLE_DEVICES", ""), card])

    def _file(self, parts: list[Any]) -> Path:
        text = json.dumps([sys.executable, __version__, parts])
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


Json = dict[str, Any]


#: ``kind`` ("entry-point" or "file"), ``name``, ``value``, and ``distribution`` or ``before``.
Source = dict[str, Any]


def empty_row(source: Source) -> Json:
    """A plugin's row in the list of plugins, before it is loaded."""
    return {
        "name": source["name"],
        "kind": source["kind"],
        "source": source["value"],
        "distribution": source.get("distribution", ""),
        "status": "ok",
        "errors": [],
        "hooks": [],
    }


def first_of_each_name(sources: Iterable[Source]) -> dict[str, Source]:
    """Name -> the first plugin of this name, the only one that is queried."""
    first: dict[str, Source] = {}
    for source in sources:
        first.setdefault(source["name"], source)
    return first


def merged(sources: Iterable[Source], parts: Mapping[str, Json], machine: Json) -> Json:
    """The catalogue: sections, ``plugins``, folders, ``conflicts``, ``files`` and ``machine``.

    Args:
        sources: all plugins, in order.
        parts: name -> part of the first plugin of that name.
        machine: description of this machine by torch.
    """
    catalogue: Json = {kind: {} for kind in KINDS}
    catalogue |= {"plugins": [], "protocol_folders": [], "published_folders": [], "conflicts": {}}
    catalogue |= {"files": {}, "machine": machine}
    sources = list(sources)
    first = first_of_each_name(sources)
    for source in sources:
        name = source["name"]
        if source is not first[name]:
            taken = f"the name '{name}' is already taken by {first[name]['value']}"
            row = {**empty_row(source), "status": "broken", "errors": [taken]}
            catalogue["plugins"].append(row)
            continue
        part = parts[name]
        catalogue["plugins"].append(part["row"])
        for listed in ("protocol_folders", "published_folders"):
            catalogue[listed] += part[listed]
        catalogue["files"] |= part["files"]
        for kind, entries in part["entries"].items():
            for thing, entry in entries.items():
                _place(catalogue, kind, thing, {**entry, "plugin": name})
    for kind in ("skeleton_encoders", "text_encoders"):
        _separate_digests(catalogue[kind])
    return catalogue


def _place(catalogue: Json, kind: str, name: str, entry: Json) -> None:
    """Add an entry; a name that two plugins claim becomes a conflict."""
    conflicts = catalogue["conflicts"].setdefault(kind, {})
    if name in conflicts:
        conflicts[name].append(entry["plugin"])
    elif name in catalogue[kind]:
        conflicts[name] = [catalogue[kind].pop(name)["plugin"], entry["plugin"]]
    else:
        catalogue[kind][name] = entry


def _separate_digests(entries: dict[str, Json]) -> None:
    """Add the class's name to the digest where several classes of one file are registered.

    Classes of one file have the same digest, and caches are looked up by it. (Methods are
    distinguished by their names.)
    """
    targets: dict[str, set[str]] = {}
    for entry in entries.values():
        targets.setdefault(entry["digest"], set()).add(entry["target"].partition(":")[2])
    for entry in entries.values():
        if len(targets[entry["digest"]]) > 1:
            text = json.dumps([entry["digest"], entry["target"].partition(":")[2]])
            entry["digest"] = hashlib.sha256(text.encode()).hexdigest()
