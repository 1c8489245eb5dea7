"""A stage: one piece of work as data, with a key of everything that can change what it makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from zsar_bench.common.hashing import digest
from zsar_bench.records.environment import processor, torch_version
from zsar_bench.sandbox.confinement.confine import support

VERSION = 1  #: rises when the same stage makes something else


@dataclass(frozen=True)
class Stage:
    """A piece of work that is made once, whoever needs it.

    Two runs share a stage because its key is the same, not because a rule says so. No run id
    depends on a key. The key holds the machine too: work that was begun on one processor must not
    be continued on another, where sums may round differently.

    Attributes:
        kind: what is done, such as ``fit``.
        job: the plugin's object, its parameters and seeds, as JSON.
        inputs: what is shown to it, by keys and digests, in the order in which it is shown.
        title: for people; not part of the key.
    """

    kind: str
    job: Mapping[str, Any]
    inputs: Mapping[str, Any]
    title: str = ""

    @cached_property
    def key(self) -> str:
        """16 hex digits."""
        where = [processor(), torch_version(), support().level]
        return digest([VERSION, self.kind, self.job, self.inputs, where])[:16]
