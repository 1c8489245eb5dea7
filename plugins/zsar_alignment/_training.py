"""Minibatch training that survives a kill: the loop that the trained baselines share.

A method builds its network and optimisers, says in ``update`` what one step does, and hands both
to ``train``. What is here has no opinion about losses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

if TYPE_CHECKING:
    from zsar_bench.contracts import FitContext

#: (step from 0, rows (B,) of the training clips) -> what to show; does the step itself.
Update = Callable[[int, Tensor], dict[str, Tensor]]


def train(
    run: FitContext,
    network: nn.Module,
    optimisers: Sequence[Optimizer],
    update: Update,
    *,
    clips: int,
    batch: int,
    steps: int,
) -> None:
    """Call ``update`` for every step; continues at ``run.resume`` to the same bytes.

    Epochs are permutations of the clips, drawn from ``run.generator``; the incomplete last batch
    of an epoch is dropped, and a training set smaller than the batch is one batch. Weights,
    buffers, optimisers and all generators are in a checkpoint, so that dropout may use torch's
    global one.

    Args:
        run: of the fit.
        network: everything that is trained, on ``run.device``.
        optimisers: of its parameters.
        update: one step; nothing in it should wait for the device.
        clips: N.
        batch: clips a step.
        steps: optimiser steps.
    """
    batch = min(batch, clips)
    batches = clips // batch
    order, first = torch.arange(clips, device=run.device), 0
    if run.resume is not None:
        first, saved = run.resume
        order = saved["order"].to(run.device)
        _restore(run, network, optimisers, saved)
    network.train()
    for step in range(first, steps):
        if step % batches == 0:
            order = torch.randperm(clips, generator=run.generator, device=run.device)
        shown = update(step, order[step % batches * batch :][:batch])
        network.eval()  # a state may be taken here
        run.progress(step + 1, steps, **{k: v.detach() for k, v in shown.items()})
        network.train()
        run.checkpoint(step + 1, partial(_snapshot, run, network, optimisers, order))
    network.eval()


def descend(optimiser: Optimizer, loss: Tensor) -> None:
    """One step of an optimiser down the gradient of a loss."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def set_rate(optimiser: Optimizer, rate: float) -> None:
    """Give all groups of an optimiser this learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate


# --- Checkpoints -----------------------------------------------------------------------------


def _snapshot(
    run: FitContext, network: nn.Module, optimisers: Sequence[Optimizer], order: Tensor
) -> dict[str, Tensor]:
    """Everything a killed fit needs to go on, as flat tensors."""
    saved = {f"network/{name}": value for name, value in network.state_dict().items()}
    for number, optimiser in enumerate(optimisers):
        slots: dict[int, dict[str, Any]] = optimiser.state_dict()["state"]
        for index, values in slots.items():
            saved |= {
                f"optimiser/{number}/{index}/{name}": value
                for name, value in values.items()
                if isinstance(value, Tensor)  # SGD without momentum says None
            }
    saved |= {"order": order, "generator": run.generator.get_state()}
    saved["global/cpu"] = torch.get_rng_state()
    if run.device.type == "cuda":
        saved["global/cuda"] = torch.cuda.get_rng_state(run.device)
    return saved


def _restore(
    run: FitContext,
    network: nn.Module,
    optimisers: Sequence[Optimizer],
    saved: Mapping[str, Tensor],
) -> None:
    """The opposite of ``_snapshot``."""
    slots: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimisers]
    weights = {}
    for key, value in saved.items():
        kind, _, rest = key.partition("/")
        if kind == "network":
            weights[rest] = value
        elif kind == "optimiser":
            number, index, name = rest.split("/")
            # Optimisers change theirs in place.
            slots[int(number)].setdefault(int(index), {})[name] = value.clone()
    network.load_state_dict(weights)
    for optimiser, state in zip(optimisers, slots, strict=True):
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": state, "param_groups": groups})
    run.generator.set_state(saved["generator"].cpu())
    torch.set_rng_state(saved["global/cpu"].cpu())
    if "global/cuda" in saved:
        torch.cuda.set_rng_state(saved["global/cuda"].cpu(), run.device)
