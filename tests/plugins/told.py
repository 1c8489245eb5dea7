"""``told``: asks for the true class under ``leak`` or ``union``, and fails where it should not
have it, or has it not.

``careless``, ``on-by-profile`` and ``no-switch`` declare leaks that must be refused.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from zsar_bench import MethodSpec, params
from zsar_bench.hookspecs import hookimpl

api = 1


class Params(params.Params):
    leak: bool = params.science(False, "answer with the label")
    union: bool = params.science(False, "right if either of two branches is")
    width: int = params.science(1, "no leak")


class Careless(params.Params):
    leak: bool = params.science(True, "on by default")


class OnByProfile(params.Params):
    profiles: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "laptop": {"leak": True}}
    leak: bool = params.science(False, "on by a profile")


class Told:
    """Always says the same candidate, unless it is told more."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def fit(self, train, run) -> None:
        assert train.inputs.labels is None, "labels belong beside the inputs of a fit"
        self.mean = train.inputs.pooled.mean(dim=0)
        run.progress(1, 1)

    def bind(self, candidates) -> None:
        self.width = len(candidates)

    def score(self, inputs) -> torch.Tensor:
        places = torch.arange(self.width, dtype=torch.float32)
        plain = places + 1e-6 * (inputs.pooled - self.mean).mean(dim=1, keepdim=True)
        if not (self.params.leak or self.params.union):
            assert inputs.labels is None, "nobody asked for labels"
            return plain
        assert inputs.labels.dtype == torch.int64
        assert inputs.labels.shape == (len(inputs),)
        own = torch.nn.functional.one_hot(inputs.labels, self.width).float()
        if self.params.leak:
            return own
        right = (plain * own).sum(dim=1) >= plain.amax(dim=1)
        right |= (-plain * own).sum(dim=1) >= (-plain).amax(dim=1)
        return torch.where(right[:, None], own, -own)

    def state_dict(self):
        return {"mean": self.mean}

    def load_state_dict(self, state) -> None:
        self.mean = state["mean"]


@hookimpl
def register_methods(registry) -> None:
    for name, own, leaks in (
        ("told", "Params", ("leak", "union")),
        ("careless", "Careless", ("leak",)),
        ("on-by-profile", "OnByProfile", ("leak",)),
        ("no-switch", "Params", ("width",)),
    ):
        registry.method(
            MethodSpec(
                name=name,
                target=f"{__name__}:Told",
                params=f"{__name__}:{own}",
                summary="is told the true class, if it asks",
                text_fields=("motion",),
                leaks=leaks,
            )
        )
