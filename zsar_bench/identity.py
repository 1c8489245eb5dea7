"""When two runs are the same run: a digest of everything that can change a score.

Versioned: change ``VERSION`` whenever the harness itself starts to compute something else
from the same inputs, and a pinned test will ask you whether you meant it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

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
