"""Orders that plugin code cannot foresee, yet the same in every rerun."""

from __future__ import annotations

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

    path = make_folder(home()) / "secret"
    if not path.is_file():
        write_bytes(path, secrets.token_hex(32).encode())
        path.chmod(0o600)
    seed = derive_seed(path.read_text("ascii"), *parts)
    return np.random.default_rng(seed).permutation(n)
