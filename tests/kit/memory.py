"""A limit of memory for the process of a test, as a worker has one."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from zsar_bench.sandbox import processes


@contextmanager
def limited() -> Iterator[None]:
    """A gibibyte more than this process has; as in a worker or a child of the campaign."""
    if not processes.LINUX:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (processes.data_size() + (1 << 30), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
