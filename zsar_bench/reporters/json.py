"""The comparison as JSON."""

from __future__ import annotations

import json
from typing import Any


def report(comparison: dict[str, Any], *, width: int, color: bool) -> str:
    """JSON, sorted keys; ``width`` and ``color`` have no effect."""
    return json.dumps(comparison, indent=1, sort_keys=True)
