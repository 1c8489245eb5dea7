"""Orders that plugin code cannot foresee, yet the same in every rerun."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING

from zsar_bench.identity import derive_seed
from zsar_bench.paths import home, make_folder, write_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def secret_order(n: int, *parts: object) -> NDArray[np.int64]:
    """A permutation of n that plugin code cannot foresee, yet the same in every rerun.

    It is drawn from a random key of this store, created on first use.
    """
    import numpy as np

    seed = derive_seed(_secret(), *parts)
    return np.random.default_rng(seed).permutation(n)


def _secret() -> str:
    """The store's key; of several processes that would create it, the first one does."""
    path = make_folder(home()) / "secret"
    if not path.is_file():
        beside = path.with_name(f".secret.{secrets.token_hex(4)}")
        write_bytes(beside, secrets.token_hex(32).encode())
        beside.chmod(0o600)
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
        beside.unlink()
    return path.read_text("ascii")
