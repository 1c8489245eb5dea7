"""The machine that workers compute on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zsar_bench.catalogue.catalogue import Entry


CHECKPOINT_SECONDS = 10.0  #: shortest time between two checkpoints of a fit


@dataclass(frozen=True)
class Machine:
    """Where workers compute.

    Attributes:
        device: ``cpu`` or ``cuda``.
        threads: CPU threads of a worker; part of identity, because sums depend on it.
        device_name: the accelerator's name, for the record.
        plugin_files: single-file plugins a worker must import.
        code: files that the plugins' code digests cover; a worker may import no others of them.
        code_state: digest of these files at the start of the command.
        protected: store and results; a worker gets single files of them only.
        timeout, memory: seconds and bytes that one worker may use; None: no limit.
        deterministic: whether CUDA uses only operations that are reproducible bit for bit. On a
            CPU all are, so it is part of identity on CUDA only.
    """

    device: str
    threads: int
    device_name: str = ""
    plugin_files: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    code_state: str = ""
    protected: tuple[str, ...] = ()
    timeout: float | None = None
    memory: int | None = None
    deterministic: bool = False

    @property
    def identity(self) -> dict[str, Any]:
        choice = {"deterministic": True} if self.deterministic and self.device == "cuda" else {}
        return {"device": self.device, "threads": self.threads, **choice}

    def job(self, kind: str, entry: Entry, params: dict[str, Any], **rest: Any) -> dict[str, Any]:
        """A job for a worker that builds ``entry``'s object."""
        return {
            "kind": kind,
            "plugin_files": self.plugin_files,
            "target": entry.spec["target"],
            "params_target": entry.spec.get("params", ""),
            "params": params,
            "device": self.device,
            "threads": self.threads,
            "deterministic": self.deterministic,
            "checkpoint_seconds": CHECKPOINT_SECONDS,
            "reads": (),
            "code": self.code,
            "code_state": self.code_state,
            "protected": self.protected,
            "limits": {"seconds": self.timeout, "bytes": self.memory},
            **rest,
        }


def cores() -> int:
    """CPU cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1
