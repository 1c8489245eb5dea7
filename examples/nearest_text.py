"""Nearest text: a linear map from skeleton features to texts by ridge regression."""

import torch

from zsar_bench import MethodSpec, params
from zsar_bench.hookspecs import hookimpl

api = 1


class Params(params.Params):
    ridge: float = params.science(0.1, "weight of the penalty on the map, per clip", gt=0)


class NearestText:
    def __init__(self, params):
        self.params = params

    def texts(self, bank):  # (K, D), the fields joined by channel
        return torch.cat([field.pooled for field in bank.fields.values()], dim=1)

    def fit(self, train, run):
        x, y = train.inputs.pooled, self.texts(run.texts)[train.labels]  # (N, C), (N, D)
        penalty = self.params.ridge * len(x) * torch.eye(x.shape[1], device=x.device)
        self.map = torch.linalg.solve(x.T @ x + penalty, x.T @ y)  # (C, D)

    def bind(self, candidates):
        self.candidates = torch.nn.functional.normalize(self.texts(candidates), dim=1)

    def score(self, inputs):  # (N, K) cosines
        return torch.nn.functional.normalize(inputs.pooled @ self.map, dim=1) @ self.candidates.T

    def state_dict(self):
        return {"map": self.map}

    def load_state_dict(self, state):
        self.map = state["map"]


@hookimpl
def register_methods(registry):
    spec = {"target": f"{__name__}:NearestText", "params": f"{__name__}:Params"}
    registry.method(MethodSpec(name="nearest-text", summary="Ridge regression to texts.", **spec))
