"""What a user allows one fit or one scoring: seconds and bytes."""

from __future__ import annotations

import re

from zsar_bench.errors import UserError

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
#: A worker that has imported torch and done nothing; with less, nothing could ever run.
LEAST = 512 * 2**20


def parse_size(text: str) -> int:
    """Bytes from ``4G``, ``1.5GiB`` or ``800M``; units are powers of 1024.

    Raises:
        UserError: for anything else, and for less than torch alone needs.
    """
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.I | re.A)
    if found is None:
        raise UserError(f"'{text}' is not a size.", "For example: --memory-limit 4G")
    size = int(float(found[1]) * UNITS[found[2].upper()])
    if size < LEAST:
        raise UserError(
            f"--memory-limit {text} is less than a worker needs to import torch.",
            f"Give at least {LEAST // 2**20}M.",
        )
    return size
