"""What a fit gets from the referee inside a worker: randomness, progress, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.contracts import SkeletonEncoder
from zsar_bench.views import TextBank

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PROGRESS_SECONDS = 0.2  #: between two progress lines; each costs one synchronisation


class Fit:
    """The referee's side of ``contracts.FitContext``.

    Args:
        seed: of this fit.
        device: where tensors live.
        threads: torch's CPU threads.
        texts: seen class texts.
        unseen_texts: unseen class texts, for the settings that may read them.
        encoder: trained skeleton encoder, for methods that asked for it.
        workdir: the fit's own folder; the checkpoint lies there.
        report: sends one progress message to the parent.
        checkpoint_seconds: shortest time between two checkpoints.
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
        report: Callable[[dict[str, Any]], None],
        checkpoint_seconds: float,
    ) -> None:
        import torch

        self.seed = seed
        self.device = device
        self.threads = threads
        self.texts = texts
        self.unseen_texts = unseen_texts
        self.encoder = encoder
        self.workdir = workdir / "own"
        self.workdir.mkdir(exist_ok=True)
        torch.manual_seed(seed)
        self.generator = torch.Generator(device=device).manual_seed(seed)
        self._report = report
        self._file = workdir / "checkpoint.safetensors"
        self._every = checkpoint_seconds
        self._last_report = 0.0
        self._last_checkpoint = time.monotonic()
        self.resume = self._read_checkpoint()

    def progress(self, step: int, total: int, **scalars: float | Tensor) -> None:
        """See ``contracts.FitContext.progress``."""
        now = time.monotonic()
        if now - self._last_report < PROGRESS_SECONDS and step < total:
            return
        self._last_report = now
        values = {name: float(value) for name, value in scalars.items()}
        self._report({"step": step, "total": total, **values})

    def checkpoint(self, step: int, tensors: Callable[[], dict[str, Tensor]]) -> None:
        """See ``contracts.FitContext.checkpoint``."""
        if time.monotonic() - self._last_checkpoint < self._every:
            return
        from safetensors.torch import save

        from zsar_bench.paths import write_bytes

        state = {name: t.detach().cpu().contiguous() for name, t in tensors().items()}
        write_bytes(self._file, save(state, metadata={"step": str(step)}))
        self._last_checkpoint = time.monotonic()

    def _read_checkpoint(self) -> tuple[int, dict[str, Tensor]] | None:
        if not self._file.is_file():
            return None
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._file, framework="pt") as f:
                step = int(f.metadata()["step"])
                return step, {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            self._file.unlink(missing_ok=True)  # damaged: start again rather than continue wrongly
            return None
