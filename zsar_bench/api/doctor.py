"""Checks of this machine and installation, and the next command to type."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zsar_bench.api.listing import Plugins
from zsar_bench.catalogue.catalogue import Catalogue, Entry, load
from zsar_bench.catalogue.machine import cores
from zsar_bench.common.files import home, make_folder
from zsar_bench.data.clips.store import prepared
from zsar_bench.data.protocols.lookup import load_all
from zsar_bench.data.protocols.protocol import stand_ins
from zsar_bench.version import __version__

LITTLE = 5.0  #: GB of free disk below which there is a note


@dataclass(frozen=True)
class Check:
    """One check: ``ok``, a ``note``, or ``bad``."""

    what: str
    state: Literal["ok", "note", "bad"]
    says: str


@dataclass(frozen=True)
class Diagnosis:
    """All checks, and the next command to type."""

    checks: list[Check]
    next: str

    @property
    def healthy(self) -> bool:
        """Whether nothing is bad."""
        return all(check.state != "bad" for check in self.checks)


def doctor(plugins: Plugins = ()) -> Diagnosis:
    """Check this machine and this installation; plugins are loaded again.

    Args:
        plugins: plugin files to load beside the installed ones.
    """
    catalogue = load([Path(file) for file in plugins], refresh=True)
    imported = prepared()
    broken = [row for row in catalogue.data["plugins"] if row["status"] != "ok"]
    checks = [
        Check("zsar-bench", "ok", f"{__version__}, Python {platform.python_version()}"),
        _torch(catalogue),
        Check("processor", "ok", f"{cores()} cores"),
        _store(),
        _confinement(),
    ]
    checks += [Check(f"plugin {row['name']}", "bad", "; ".join(row["errors"])) for row in broken]
    if not broken:
        names = ", ".join(row["name"] for row in catalogue.data["plugins"])
        checks.append(Check("plugins", "ok", names))
    checks += [
        _dataset(entry, catalogue, entry.name in imported)
        for entry in catalogue.entries("datasets")
    ]
    return Diagnosis(checks, _next(catalogue, imported, bool(broken)))


def _torch(catalogue: Catalogue) -> Check:
    machine = catalogue.machine
    if not machine["torch"]:
        return Check("torch", "bad", f"cannot be imported: {machine.get('error', '')}")
    without = "no CUDA device; profile laptop is the default"
    device = machine["device"] if machine["cuda"] else without
    return Check("torch", "ok", f"{machine['torch']}, {device}")


def _store() -> Check:
    folder = make_folder(home())
    if not os.access(folder, os.W_OK):
        return Check("store", "bad", f"{folder} is not writable")
    free = shutil.disk_usage(folder).free / 1e9
    return Check("store", "note" if free < LITTLE else "ok", f"{folder}, {free:.0f} GB free")


def _confinement() -> Check:
    """What confines plugin code here, part by part."""
    from zsar_bench.sandbox.confinement.confine import support

    confinement = support()
    parts = {
        "files outside a worker's bundle": confinement.files,
        "TCP connections": confinement.tcp,
        "signals to other processes": confinement.signals,
        "system calls that reach other processes": confinement.system_calls,
        "all capabilities": confinement.capabilities,
    }
    taken = [part for part, stands in parts.items() if stands]
    left = [part for part, stands in parts.items() if not stands]
    if confinement.level == "process":
        level = "process: workers are separate processes with a clean environment"
        level += "; this system has no Landlock"
    else:
        level = f"{confinement.level} (ABI {confinement.abi})"
    says = [level]
    says += [f"taken from plugin code: {', '.join(taken)}"] if taken else []
    says += [f"not taken: {', '.join(left)}"] if left else []
    return Check("confinement", "note" if left else "ok", "; ".join(says))


def _dataset(entry: Entry, catalogue: Catalogue, imported: bool) -> Check:
    """The check of one data set."""
    real = entry.spec["stand_in_for"]
    if real:
        says = "made" if imported else "is made when it is needed"
        text = f"synthetic clips for the protocols of {real}; {says}"
        return Check(f"stand-in {entry.name}", "ok", text)
    what = f"data set {entry.name}"
    if imported:
        return Check(what, "ok", "imported")
    how = " ".join(entry.spec["how_to_get"].split())
    substitutes = stand_ins(entry.name, catalogue)
    until = " Until then its protocols run on synthetic clips, and say so." if substitutes else ""
    return Check(what, "note", f"not imported. {how}{until}")


def _next(catalogue: Catalogue, imported: Sequence[str], broken: bool) -> str:
    """The next command: for real data, else for synthetic ones."""
    if broken:
        return "zsar-bench list plugins"
    protocols, groups = load_all(catalogue)
    parts = {name for group in groups for name in group.of}
    protocols = [p for p in protocols if p.id not in parts] or protocols
    methods = " ".join(catalogue.names("methods"))
    ready = [p for p in protocols if p.dataset in imported]
    if ready:
        best = max(ready, key=lambda p: (len(p.seen), p.rule == "xsub", p.pseudo_unseen != ()))
        return f"zsar-bench run {methods} --protocol {best.id}"
    possible = [(e, p) for p in protocols for e in stand_ins(p.dataset, catalogue)]
    if possible:  # the smallest first
        _, quickest = min(
            possible,
            key=lambda pair: (
                pair[0].spec["clips"],
                len(pair[1].unseen),
                pair[1].rule != "xsub",
                not pair[1].pseudo_unseen,
                pair[1].id,
            ),
        )
        return f"zsar-bench run {methods} --protocol {quickest.id}"
    if protocols:
        return f"zsar-bench data import {protocols[0].dataset} PATH"
    return "zsar-bench list protocols"
