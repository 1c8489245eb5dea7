"""``leaky``: knows a clip's class by its place in the queue, whatever the texts say.

It ignores texts. Where a referee hands out clips sorted by class and candidates in the
protocol's order, the place of a clip among all clips is the place of its class among the
candidates, and this method is always right. Where orders are made from content it guesses.
"""

from __future__ import annotations

import torch

from zsar_bench import MethodSpec, params
from zsar_bench.hookspecs import hookimpl

api = 1


class Params(params.Params):
    """None."""


class Leaky:
    """See the module."""

    def __init__(self, params: Params) -> None:
        pass

    def fit(self, train, run) -> None:
        """Nothing is learned."""

    def bind(self, candidates) -> None:
        self.width = len(candidates)

    def adapt(self, inputs) -> None:
        """Remember the queue of all N clips."""
        self.queue = {row.numpy().tobytes(): n for n, row in enumerate(inputs.pooled)}

    def score(self, inputs) -> torch.Tensor:
        """(N, K): 1 at the candidate whose share of the queue a clip stands in."""
        places = [self.queue[row.numpy().tobytes()] for row in inputs.pooled]
        guess = torch.tensor([n * self.width // len(self.queue) for n in places])
        return torch.nn.functional.one_hot(guess, self.width).float()

    def state_dict(self):
        return {"nothing": torch.zeros(1)}

    def load_state_dict(self, state) -> None:
        pass


@hookimpl
def register_methods(registry) -> None:
    registry.method(
        MethodSpec(
            name="leaky",
            target=f"{__name__}:Leaky",
            params=f"{__name__}:Params",
            summary="knows the class by the clip's place in the queue",
            setting="transductive",
            text_fields=("motion",),
        )
    )
