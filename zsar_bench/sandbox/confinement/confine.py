"""Confinement of plugin code by the kernel.

Landlock restricts files, TCP and signals, a seccomp filter restricts system calls, and all
capabilities are dropped. This needs no privileges, cannot be undone, and children inherit it. If
the kernel lacks Landlock, the rest still applies and the level is ``process``.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import PathEntryFinder
from pathlib import Path
from types import ModuleType

from zsar_bench.errors import UserError
from zsar_bench.sandbox.confinement import landlock, privileges, seccomp
from zsar_bench.sandbox.confinement.rules import Rules, carve, check, real
from zsar_bench.sandbox.confinement.worker_rules import discovery_rules, worker_rules

__all__ = [
    "Confinement",
    "ConfinementError",
    "Rules",
    "carve",
    "check",
    "confine",
    "discovery_rules",
    "support",
    "worker_rules",
]


class ConfinementError(UserError):
    """The kernel supports confinement but refused it; plugin code must not run unconfined."""


@dataclass(frozen=True)
class Confinement:
    """How a process is confined, or could be.

    Attributes:
        level: ``landlock``, or ``process`` without it.
        abi: Landlock's ABI, 0 without.
        files: Landlock restricts files.
        tcp: Landlock restricts TCP.
        signals: Landlock restricts signals and abstract Unix sockets.
        system_calls: the filter on system calls.
        capabilities: all capabilities dropped, no new privileges.
    """

    level: str
    abi: int
    files: bool
    tcp: bool
    signals: bool
    system_calls: bool
    capabilities: bool


def support() -> Confinement:
    """The confinement that this kernel supports; changes nothing."""
    abi = landlock.abi()
    return Confinement(
        level="landlock" if abi else "process",
        abi=abi,
        files=abi > 0,
        tcp=abi >= landlock.TCP_SINCE,
        signals=abi >= landlock.SCOPES_SINCE,
        system_calls=seccomp.available(),
        capabilities=privileges.available(),
    )


def confine(rules: Rules) -> Confinement:
    """Confine this process irrevocably; children that it starts later inherit this.

    Call it in a process with one thread, before any plugin code. Modules in folders of ``sys.path``
    that may not be listed are then imported by name.

    Returns:
        How the process is confined now.

    Raises:
        ConfinementError: if the kernel refuses what it claims to support.
    """
    possible = support()
    _one_thread()
    try:
        descriptor = landlock.ruleset(rules, possible.abi) if possible.files else None
        try:
            if possible.capabilities:
                privileges.drop()
            if descriptor is not None:
                landlock.restrict(descriptor)
        finally:
            if descriptor is not None:
                os.close(descriptor)
        # Last: the filter would refuse the calls that the other steps need.
        if possible.system_calls:
            seccomp.install(rules.network)
    except OSError as error:
        raise ConfinementError(
            f"The kernel did not confine plugin code: {error}.",
            "See what it supports with: zsar-bench doctor",
        ) from error
    if possible.files:
        import_by_name(_unlisted(rules))
    tcp = possible.tcp and not rules.network
    return Confinement(**{**vars(possible), "tcp": tcp})


def _one_thread() -> None:
    if sys.platform != "linux":
        return
    count = len(os.listdir("/proc/self/task"))
    if count > 1:
        raise ConfinementError(
            f"A process of {count} threads cannot be confined: Landlock covers only one.",
            "This is a fault of zsar-bench; please report it.",
        )


def _unlisted(rules: Rules) -> list[str]:
    # compared as strings for speed; paths are real
    listed = {*rules.read, *rules.names, *rules.write}
    folders = (folder for folder in sys.path if os.path.isdir(folder))
    return [folder for folder in folders if listed.isdisjoint(_with_parents(real(folder)))]


def _with_parents(path: str) -> list[str]:
    return [path, *map(str, Path(path).parents)]


_KINDS = (
    (importlib.machinery.EXTENSION_SUFFIXES, importlib.machinery.ExtensionFileLoader),
    (importlib.machinery.SOURCE_SUFFIXES, importlib.machinery.SourceFileLoader),
)


class ByName(PathEntryFinder):
    """Finds modules in one folder without listing it."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find_spec(
        self, fullname: str, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module's spec, or None; packages come before modules, as with Python's own."""
        base = os.path.join(self.folder, fullname.rpartition(".")[2])
        for stem, inside in ((os.path.join(base, "__init__"), [base]), (base, None)):
            for suffixes, loader in _KINDS:
                for suffix in suffixes:
                    if os.path.isfile(stem + suffix):
                        return importlib.util.spec_from_file_location(
                            fullname,
                            stem + suffix,
                            loader=loader(fullname, stem + suffix),
                            submodule_search_locations=inside,
                        )
        return None

    def invalidate_caches(self) -> None:
        """There is no cache."""


def import_by_name(folders: Sequence[str]) -> None:
    """Find modules in these folders of ``sys.path`` without listing them, from now on."""
    known = frozenset(folders)

    def hook(folder: str) -> ByName:
        if folder not in known:
            raise ImportError(folder)
        return ByName(folder)

    sys.path_hooks.insert(0, hook)
    for folder in known:
        sys.path_importer_cache.pop(folder, None)
