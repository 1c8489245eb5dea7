"""Importing plugin modules: used by the discovery child and by workers, never by the parent."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def file_module_name(path: Path) -> str:
    """The module name under which a plugin file is imported; the same in every process."""
    return f"zsar_plugin_{path.stem}"


def import_file(path: Path) -> ModuleType:
    """Import a single-file plugin as ``zsar_plugin_<stem>``."""
    name = file_module_name(path)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def resolve(target: str) -> Any:
    """The object behind ``"package.module:Name"``."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
