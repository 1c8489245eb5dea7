"""The scripts beside the reference runs, as modules."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from kit.paths import REFERENCE


def load_script(name: str) -> ModuleType:
    """``results/reference/NAME.py``, which finds its neighbours as if it were run."""
    sys.path.insert(0, str(REFERENCE))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(REFERENCE))
