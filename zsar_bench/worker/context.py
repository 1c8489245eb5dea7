"""What a fit gets from the referee inside a worker: randomness, progress, checkpoints.

Nothing is written here: checkpoints and states go through the pipe, in the order in which they
came about, so that a parent which has a checkpoint also has every state taken before it.
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

PROGRESS_SECONDS = 0.2  #: between two progress lines; each costs one synchronisation
PROBED_STEPS = 2  #: a fit that got so far has met all it needs to have in memory


class Probed(BaseException):
    """A fit that was only to show whether it fits into memory has shown it."""


class Fit:
    """The referee's side of ``contracts.FitContext``.

    Args:
        seed: of this fit.
        device: where tensors live.
        threads: torch's CPU threads.
        texts: seen class texts.
        unseen_texts: unseen class texts, for the settings that may read them.
        encoder: trained skeleton encoder, for methods that asked for it.
        workdir: an empty folder of the fit's own.
        line: the pipe to the parent.
        state: gives the present state of what is fitted.
        checkpoint: a checkpoint to continue from, as the parent stored it.
        checkpoint_seconds: shortest time between two checkpoints.
        grids: numbers of evenly spaced states that the referee wants to choose among.
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
        self.resume = None if checkpoint is None else self._take_up(checkpoint)

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
            return  # which states are due is not known before the first report
        self._keep(step)  # whoever goes on from here has passed this step
        position = {"checkpoint": step, "reported": self._reported, "total": self.total}
        send(self._line, position, tensors())
        self._last_checkpoint = time.monotonic()

    def _keep(self, step: int) -> None:
        """Hand over the state after this step if it is one to choose among."""
        if due(step, self._reported, self.total, self._grids):
            send(self._line, {"keep": step}, self._state())
        self._reported = max(step, self._reported)

    def _take_up(self, payload: bytes) -> tuple[int, dict[str, Tensor]]:
        from zsar_bench.sandbox.wire import unpack

        step, self._reported, self.total = POSITION.unpack_from(payload)
        return step, unpack(payload[POSITION.size :])


def send(line: Line, message: dict[str, Any], state: Mapping[str, Tensor]) -> None:
    """Give the parent a message and the tensors that belong to it."""
    tensors = {name: t.detach().cpu().clone().contiguous() for name, t in state.items()}
    line.say(message)
    line.give(tensors)
