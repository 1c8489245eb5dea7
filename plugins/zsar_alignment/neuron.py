"""Neuron: micro-prototypes that joints and phases rewrite over rounds, held against sentences.

Y. Chen, J. Guo, S. Guo, D. Tao, "Neuron: Learning Context-Aware Evolving Representations for
Zero-Shot Skeleton Action Recognition", CVPR 2025, arXiv 2411.11288; equations and values of the
official code (cseeyangchen/Neuron, its NTU-60 configuration). A spatial and a temporal branch
start from I learnable micro-prototypes p_v each, as wide as a token, and go through three rounds.

Spatial, x_j a joint's mean over time. The net narrows: in round t a joint feeds only the
micro-prototypes it is nearest to, ``narrowing`` I of them fewer than in the round before:

    s_jv = <x_j, p_v^{t-1}>,     b_jv = exp s_jv / sum over joints k of exp s_kv
    e_v  = sum over joints j that feed v of b_jv x_j,     p_v^t = U_t(e_v)

Temporal, x_f a frame's mean over joints. The view widens: round t sees the first t thirds of the
clip, and two gates decide how much of a micro-prototype is recalled and how much is new:

    e_v   = sum over frames f seen of softmax_f <x_f, p_v^{t-1}> x_f
    p_v^t = sigma(R_t(e_v)) * p_v^{t-1} + sigma(M_t(e_v)) * U_t(e_v)

U, R, M are MLPs of two layers with a ReLU after each. In both branches, with u_c^t the mean of
the unit vectors of what is said of class c in round t, and one projection A for all rounds,

    v^t = unit vector of ReLU(A mean over v of p_v^t),     s^t(c) = scale * <v^t, u_c^t>
    loss = mean over branches and rounds of CE(s^t, y)                    over seen classes

A clip scores the mean of both branches' s^3: one score. Texts have no weights of their own.

Where we differ from the official code, and why:

- It reads ten sentences a class and round that GPT-4o-mini wrote, of growing detail (spatial), or
  of the first, the first two and all three phases (temporal); we do not have them. Our spatial
  rounds read ``description``, ``motion``, then head, arms, torso and legs; the temporal ones
  start, start and middle, all three.
- It sees 5, 10 and all of 16 frames; our tokens have three phases, so we see 1, 2 and all of 3,
  and the first round of the temporal branch has no choice.
- It counts a clip as right if *either* branch has it right, which no single prediction can do.
  ``union`` scores so to show what that is worth: where either branch's first choice is the true
  class that class gets the top score, and elsewhere the spatial branch, which is wrong there,
  decides alone. It needs the true classes, so such a run is marked and never ranked.
- Its frozen encoder still takes batch statistics, and moves its running ones, while the branches
  train, and clips are turned and cropped at random in training and at test. Features are fixed.
- The referee chooses the checkpoint, and GZSL's constants, which the authors search on test.
- ``normalize`` is ours, for ``laptop``. That has a larger ``scale``, too: times 0.1 a cosine says
  almost nothing, and few clips are few steps; the authors' 36,758 make 17,000.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from zsar_alignment._tokens import PARTS, PHASES, averages, groups, stacked, token_statistics
from zsar_alignment._training import descend, set_rate, train
from zsar_bench import params as zp
from zsar_bench.errors import UserError
from zsar_bench.params import among, between, science

if TYPE_CHECKING:
    from torch import Tensor

    from zsar_bench.contracts import FitContext, State
    from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

ROUNDS = 3
#: What a branch reads of a class in each round.
SAID: dict[str, tuple[tuple[str, ...], ...]] = {
    "spatial": (("description",), ("motion",), PARTS),
    "temporal": tuple(PHASES[: t + 1] for t in range(ROUNDS)),
}

# --- Parameters ------------------------------------------------------------------------------


class Params(zp.Params):
    """Every choice of the method; the defaults are the official code's for NTU-60."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "laptop": {
            "prototypes": 16,
            "hidden": 64,
            "normalize": "standardize",
            "scale": 20.0,
            "milestones": (15, 25),
        },
    }

    # network
    prototypes: int = science(80, "micro-prototypes I of a branch", ge=2)
    narrowing: float = science(0.25, "share of them a joint loses each round", ge=0, lt=1 / 3)
    hidden: int = science(256, "hidden width of the MLPs", ge=1)
    normalize: Literal["none", "standardize"] = science(
        "none", "tokens as they come, or by mean and spread of the seen training clips"
    )
    scale: float = science(0.1, "multiplies cosines", among(0.1, 1.0, 5.0, 20.0), gt=0)

    # optimisation
    lr: float = science(0.1, "learning rate of SGD", between(0.01, 0.3), gt=0)
    momentum: float = science(0.9, "Nesterov momentum of SGD", gt=0, lt=1)
    weight_decay: float = science(5e-4, "weight decay of SGD", ge=0)
    epochs: int = science(30, "passes over the seen clips", between(10, 60), ge=1)
    milestones: tuple[int, ...] = science((4, 20), "epochs after which the rate falls tenfold")
    batch: int = science(64, "clips a step", ge=1)

    # a leak
    union: bool = science(
        False, "count a clip as right if either branch is, as the authors do; reads true classes"
    )


# --- Network ---------------------------------------------------------------------------------


def feed(p: Tensor, x: Tensor, most: int) -> Tensor:
    """What micro-prototypes p (N, I, C) take in of tokens x (N, M, C): e (N, I, C).

    A token feeds only the ``most`` micro-prototypes that are nearest to it.
    """
    s = x @ p.transpose(1, 2)  # (N, M, I)
    weights = s.softmax(1)
    if most < s.shape[2]:
        weights = weights.where(s >= s.topk(most, dim=2).values[..., -1:], 0.0)
    return weights.transpose(1, 2) @ x


class Branch(nn.Module):
    """Micro-prototypes and how they change.

    Args:
        p: numbers of micro-prototypes and hidden channels.
        channels: C of a token and of a micro-prototype.
        text_channels: D of a sentence.
        memory: the temporal rule instead of the spatial one.
    """

    def __init__(self, p: Params, channels: int, text_channels: int, memory: bool) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(torch.randn(p.prototypes, channels))
        inner, outer = nn.Linear(channels, p.hidden), nn.Linear(p.hidden, channels)
        mlp = nn.Sequential(inner, nn.ReLU(), outer, nn.ReLU())

        def copies() -> nn.ModuleList:  # in the official code, too, all start alike
            return nn.ModuleList(deepcopy(mlp) for _ in range(ROUNDS))

        self.update = copies()  # U_t
        self.recall, self.remember = (copies(), copies()) if memory else (None, None)  # R_t, M_t
        self.projection = nn.Linear(channels, text_channels)  # A
        share = 0 if memory else p.narrowing
        self.most = [max(1, round(p.prototypes * (1 - share * (t + 1)))) for t in range(ROUNDS)]

    def grow(self, t: int, state: Tensor, x: Tensor) -> Tensor:
        """Round t from 0: p (N, I, C) and what it sees (N, M, C) -> the next p."""
        e = feed(state, x, self.most[t])
        new: Tensor = self.update[t](e)
        if self.recall is None or self.remember is None:
            return new
        return self.recall[t](e).sigmoid() * state + self.remember[t](e).sigmoid() * new

    def forward(self, rounds: list[Tensor]) -> Tensor:
        """What each round sees, (N, M, C) -> unit vectors v (T, N, D)."""
        state = self.prototypes.expand(len(rounds[0]), -1, -1)
        found = []
        for t, x in enumerate(rounds):
            state = self.grow(t, state, x)
            found.append(state.mean(1))
        return normalize(self.projection(torch.stack(found)).relu(), dim=-1)


# --- Loss and score --------------------------------------------------------------------------


def branch_loss(v: Tensor, u: Tensor, labels: Tensor, scale: float) -> Tensor:
    """Mean over rounds of CE of scale * <v, u>: v (T, N, D), u (T, S, D), labels (N,)."""
    logits = scale * v @ u.transpose(1, 2)  # (T, N, S)
    return cross_entropy(logits.flatten(0, 1), labels.repeat(len(v)))


def either_right(spatial: Tensor, temporal: Tensor, labels: Tensor) -> Tensor:
    """Scores (N, K) whose first choice is the true class exactly where a branch's is.

    Args:
        spatial, temporal: (N, K) scores of the branches.
        labels: (N,) true columns; where it is -1 the score is the branches' mean.
    """
    known = labels >= 0
    hit = known & ((spatial.argmax(1) == labels) | (temporal.argmax(1) == labels))
    top = torch.maximum(spatial, temporal).amax(1, keepdim=True) + 1
    true = torch.arange(spatial.shape[1], device=labels.device) == labels.unsqueeze(1)
    mean = (spatial + temporal) / 2
    apart = torch.where(known.unsqueeze(1), spatial, mean)
    return torch.where(hit.unsqueeze(1), torch.where(true, top, mean), apart)


# --- The method ------------------------------------------------------------------------------


def contexts(texts: TextBank) -> dict[str, Tensor]:
    """u of each branch (T, K, D): mean over a round's sentences of their unit vectors."""
    return {
        name: torch.stack(
            [normalize(stacked(texts, fields, "none"), dim=-1).mean(1) for fields in rounds]
        )
        for name, rounds in SAID.items()
    }


class Neuron:
    """Neuron as a method of the harness (``zsar_bench.contracts.Method``)."""

    network: nn.ModuleDict

    def __init__(self, params: Params) -> None:
        self.params = params
        self.scaling: dict[str, Tensor] = {}

    def rounds(self, inputs: SkeletonInputs) -> dict[str, list[Tensor]]:
        """What each round sees, (N, M, C): all joints (spatial), the first 1, 2, 3 phases."""
        joint, phase = groups(inputs, "joint"), groups(inputs, "phase")
        assert inputs.tokens is not None, "groups() has looked"
        x = (inputs.tokens.float() - self.scaling["mean"]) / self.scaling["spread"]
        joints, phases = averages(x, joint), averages(x, phase)
        temporal = [phases[:, : t + 1] for t in range(ROUNDS)]
        return {"spatial": [joints] * ROUNDS, "temporal": temporal}

    def build(self, channels: int, text_channels: int) -> nn.ModuleDict:
        """Both branches."""
        return nn.ModuleDict(
            {n: Branch(self.params, channels, text_channels, n == "temporal") for n in SAID}
        )

    def fit(self, train_set: SeenTrain, run: FitContext) -> None:
        """Train both branches on the seen clips and the seen classes' sentences."""
        p, inputs, labels = self.params, train_set.inputs, train_set.labels
        groups(inputs, "joint")  # says what is missing
        assert inputs.tokens is not None, "groups() has looked"
        self.scaling = token_statistics(inputs.tokens, p.normalize)
        x, said = self.rounds(inputs), contexts(run.texts)
        self.network = self.build(inputs.tokens.shape[2], said["spatial"].shape[2]).to(run.device)
        optimiser = torch.optim.SGD(
            self.network.parameters(), p.lr, p.momentum, weight_decay=p.weight_decay, nesterov=True
        )
        batch = min(p.batch, len(labels))
        batches = len(labels) // batch

        def update(step: int, rows: Tensor) -> dict[str, Tensor]:
            set_rate(optimiser, p.lr * 0.1 ** sum(step // batches >= m for m in p.milestones))
            losses = {}
            for name, branch in self.network.items():
                v = branch([some[rows] for some in x[name]])
                losses[name] = branch_loss(v, said[name], labels[rows], p.scale)
            losses["loss"] = (losses["spatial"] + losses["temporal"]) / 2
            descend(optimiser, losses["loss"])
            return losses

        steps = p.epochs * batches
        train(run, self.network, [optimiser], update, clips=len(labels), batch=batch, steps=steps)

    def bind(self, candidates: TextBank) -> None:
        """Read the candidates' sentences of the last round."""
        self.classes = {name: u[-1] for name, u in contexts(candidates).items()}  # (K, D)

    @torch.no_grad()
    def score(self, inputs: SkeletonInputs) -> Tensor:
        """(N, K) mean of the branches' last-round logits; with ``union`` see above.

        Raises:
            UserError: if ``union`` is on and the clips come without their true classes.
        """
        x = self.rounds(inputs)
        spatial, temporal = (
            self.params.scale * self.network[n](x[n])[-1] @ self.classes[n].T for n in SAID
        )
        if not self.params.union:
            return (spatial + temporal) / 2
        if inputs.labels is None:
            raise UserError(
                "union=true counts with the true classes, and these clips come without.",
                "Score without --set union=true.",
            )
        return either_right(spatial, temporal, inputs.labels)

    def state_dict(self) -> State:
        """The network's tensors and the tokens' ``mean`` and ``spread`` (C,)."""
        tensors = self.network.state_dict()
        return {f"network.{name}": value for name, value in tensors.items()} | self.scaling

    def load_state_dict(self, state: State) -> None:
        """Rebuild the network from the shapes of another instance's state."""
        tensors = {k.removeprefix("network."): v for k, v in state.items() if "." in k}
        self.scaling = {name: state[name] for name in ("mean", "spread")}
        text_channels, channels = tensors["spatial.projection.weight"].shape
        self.network = self.build(channels, text_channels).to(state["mean"].device)
        self.network.load_state_dict(tensors)
        self.network.eval()
