"""The fit context inside a worker: randomness, progress, checkpoints.

Nothing is written to files here. Checkpoints and states go through the pipe in order, so that a
parent that has a checkpoint also has every earlier state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.contracts import SkeletonEncoder
from zsar_bench.plans.selection import due
from zsar_bench.sandbox.checkpoint_stream import POSITION
from zsar_bench.views import TextBank

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from zsar_bench.worker.job import Line

PROGRESS_SECONDS = 0.2  #: shortest time between two progress messages; each synchronises the device
PROBED_STEPS = 2  #: steps after which a fit has reached its peak memory


class Probed(BaseException):
    """Ends a fit that only tests whether it fits into memory."""


class Fit:
    """The implementation of ``contracts.FitContext``.

    Args:
        seed: of this fit.
        device: of all tensors.
        threads: torch's CPU threads.
        texts: seen class texts.
        unseen_texts: unseen class texts, for the settings that may read them.
        encoder: trained skeleton encoder, for methods that declare that they need it.
        workdir: an empty folder for the fit.
        line: the pipe to the parent.
        state: returns the current state of the fitted object.
        checkpoint: a checkpoint to continue from, as the parent stored it.
        checkpoint_seconds: shortest time between two checkpoints.
        grids: numbers of evenly spaced states to send for checkpoint selection.
        probe: end after a few steps by raising ``Probed``.

    Attributes:
        total: steps of the schedule, as last reported; 0 before.
    """

    def __init__(
        self,
        *,
        seed: int,
        device: torch.device,
        threads: int,
        texts: TextBank,
        unseen_texts: TextBank | None,
        encoder: SkeletonEncoder | None,
        workdir: Path,
        line: Line,
        state: Callable[[], Mapping[str, Tensor]],
        checkpoint: bytes | None,
        checkpoint_seconds: float,
        grids: tuple[int, ...] = (),
        probe: bool = False,
    ) -> None:
        import torch

        self.seed = seed
        self.device = device
        self.threads = threads
        self.texts = texts
        self.unseen_texts = unseen_texts
        self.encoder = encoder
        self.workdir = workdir
        self.total = 0
        torch.manual_seed(seed)
        self.generator = torch.Generator(device=device).manual_seed(seed)
        self._line = line
        self._state = state
        self._every = checkpoint_seconds
        self._grids = grids
        self._probe = probe
        self._reports = 0
        self._reported = 0
        self._last_line = 0.0
        self._last_checkpoint = time.monotonic()
        self.resume = None if checkpoint is None else self._resume(checkpoint)

    def progress(self, step: int, total: int, **scalars: float | Tensor) -> None:
        """See ``contracts.FitContext.progress``."""
        self.total = total
        self._keep(step)
        self._reports += 1
        if self._probe and self._reports >= PROBED_STEPS:
            raise Probed
        now = time.monotonic()
        if now - self._last_line < PROGRESS_SECONDS and step < total:
            return
        self._last_line = now
        values = {name: float(value) for name, value in scalars.items()}
        self._line.progress({"step": step, "total": total, **values})

    def checkpoint(self, step: int, tensors: Callable[[], dict[str, Tensor]]) -> None:
        """See ``contracts.FitContext.checkpoint``."""
        if time.monotonic() - self._last_checkpoint < self._every:
            return
        if self._grids and not self.total:
            return  # before the first report it is unknown which states are due
        self._keep(step)  # a fit that resumes here does not repeat this step
        position = {"checkpoint": step, "reported": self._reported, "total": self.total}
        send(self._line, position, tensors())
        self._last_checkpoint = time.monotonic()

    def _keep(self, step: int) -> None:
        """Send the state after this step if it is a candidate for selection."""
        if due(step, self._reported, self.total, self._grids):
            send(self._line, {"keep": step}, self._state())
        self._reported = max(step, self._reported)

    def _resume(self, payload: bytes) -> tuple[int, dict[str, Tensor]]:
        from zsar_bench.sandbox.wire import unpack

        step, self._reported, self.total = POSITION.unpack_from(payload)
        return step, unpack(payload[POSITION.size :])


def send(line: Line, message: dict[str, Any], state: Mapping[str, Tensor]) -> None:
    """Send the parent a message and its tensors."""
    tensors = {name: t.detach().cpu().clone().contiguous() for name, t in state.items()}
    line.send(message)
    line.send_tensors(tensors)
