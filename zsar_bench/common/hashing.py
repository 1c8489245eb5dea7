"""When two runs are the same run: a digest of everything that can change a score.

Versioned: change ``VERSION`` whenever the harness itself starts to compute something else
from the same inputs, and a pinned test will ask you whether you meant it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


VERSION = 1


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in one canonical form (sorted keys, no spaces).

    Raises:
        ValueError: for NaN or infinity, which have no canonical form.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def key(kind: str, **parts: Any) -> str:
    """A short key (16 hex digits) of one kind of computation and all it depends on."""
    return digest({"version": VERSION, "kind": kind, **parts})[:16]


def derive_seed(*parts: object) -> int:
    """A seed below 2**63 for one purpose, from the seeds and names that determine it."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def content_order(contents: Iterable[bytes], *salt: object) -> NDArray[np.int64]:
    """A permutation that puts things in the order of their salted hashes.

    Args:
        contents: what each thing consists of, or a digest of it.
        salt: whatever should make another order, e.g. the run's id.
    """
    import numpy as np

    prefix = hashlib.sha256("/".join(map(str, salt)).encode())
    hashes = []
    for content in contents:
        salted = prefix.copy()
        salted.update(content)
        hashes.append(salted.digest())
    return np.array(sorted(range(len(hashes)), key=hashes.__getitem__), dtype=np.int64)


def secret_draw(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of ``count`` things, drawn so that nobody can know beforehand which.

    For checks only: what is checked must not depend on it.
    """
    import secrets

    import numpy as np

    draw = np.random.default_rng(secrets.randbits(128))
    return draw.permutation(count)[:most].astype(np.int64)


def hash_order(names: Iterable[str], purpose: str) -> list[str]:
    """Names in an order that has nothing to do with their own: a draw whose beginnings nest."""
    return sorted(names, key=lambda n: hashlib.sha256(f"{purpose}/{n}".encode()).digest())
