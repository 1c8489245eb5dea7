"""The protocols that zsar-bench ships, one TOML file each; installed as ``zsar_protocols``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from zsar_bench.hookspecs import hookimpl

if TYPE_CHECKING:
    from zsar_bench.registry import Registry

api = 1


@hookimpl
def register_protocols(registry: Registry) -> None:
    """Add this folder's protocols and the published results kept beside them."""
    registry.protocols(Path(__file__).parent)
    published = find_spec("zsar_published")
    for folder in (published and published.submodule_search_locations) or ():
        registry.published(Path(folder))
