"""Identity of a computation: a digest of everything that can change its result.

Increase ``VERSION`` whenever the harness itself computes something else from the same inputs. A
test pins the identities, so that this does not happen by accident.
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
    """A key (16 hex digits) of one kind of computation and everything that it depends on."""
    return digest({"version": VERSION, "kind": kind, **parts})[:16]


def derive_seed(*parts: object) -> int:
    """A seed below 2**63 for one purpose, from the seeds and names that determine it."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def content_order(contents: Iterable[bytes], *salt: object) -> NDArray[np.int64]:
    """The permutation that sorts items by their salted hashes.

    Args:
        contents: content of each item, or a digest of it.
        salt: values that change the order, e.g. the run's id.
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
    """At most ``most`` of the indices below ``count``, drawn unpredictably.

    For checks only: no result may depend on the draw.
    """
    import secrets

    import numpy as np

    draw = np.random.default_rng(secrets.randbits(128))
    return draw.permutation(count)[:most].astype(np.int64)


def hash_order(names: Iterable[str], purpose: str) -> list[str]:
    """Names sorted by their hashes: the first k are a random draw, part of the first k + 1."""
    return sorted(names, key=lambda n: hashlib.sha256(f"{purpose}/{n}".encode()).digest())
