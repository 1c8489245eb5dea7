"""Imports from folders whose names may not be listed.

Python lists a folder of ``sys.path`` before it opens a module in it. Where listing is refused,
because the folder also holds things that are none of a plugin's business, the modules are tried
by name instead.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import PathEntryFinder
from types import ModuleType

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
        """Nothing is kept."""


def import_by_name(folders: Sequence[str]) -> None:
    """From now on modules in these folders of ``sys.path`` are found without listing them."""
    known = frozenset(folders)

    def hook(folder: str) -> ByName:
        if folder not in known:
            raise ImportError(folder)
        return ByName(folder)

    sys.path_hooks.insert(0, hook)
    for folder in known:
        sys.path_importer_cache.pop(folder, None)
