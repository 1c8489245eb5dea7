"""The scene of an attack: what there is to steal, and who listens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kit.cheats import Scene, make_scene


@pytest.fixture(scope="module")
def scene(
    toy_store: Path, toy_site: Path, toy_raw: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """A store, results and listeners of a module's own, and one honest run."""
    with ExitStack() as listening:
        folder = tmp_path_factory.mktemp("scene")
        yield make_scene(folder, toy_store, toy_site, toy_raw, listening)
