"""Neuron: micro-prototypes grow over rounds by what a skeleton shows and by what sentences say.

Y. Chen, J. Guo, S. Guo, D. Tao, "Neuron: Learning Context-Aware Evolving Representations for
Zero-Shot Skeleton Action Recognition", CVPR 2025, arXiv 2411.11288; values and rules of the
official code (cseeyangchen/Neuron). A spatial and a temporal branch hold I learnable
micro-prototypes P^0 (I, D) each. On the skeleton side of a branch they take in a clip's tokens, on
its text side a class's context sentences, for T rounds:

    E^t = attention(queries P^{t-1}, keys and values: tokens or sentences, each with its place)
    P^t = LN(P^{t-1} + E^t)                                             spatial branch
    P^t = LN(g * P^{t-1} + (1 - g) * E^t),  g = sigma(G [P^{t-1}; E^t])    temporal branch
    v^t_i = <W_i, P^t_i>                                    one channel for each micro-prototype
    s^t(x, c) = cos(v^t of clip x, v^t of class c) / temperature

    loss = sum over branches, mean over rounds of CE(s^t(x, .), y)        over seen classes

A clip scores the mean of both branches' s^T: one score. What the paper names is there: alignment
in every round from small to large, compression of the spatial side (the first round sees joints,
the later ones body parts, each the mean of its joints) and a memory on the temporal side (the gate
g keeps of a micro-prototype what it has). We had the paper's abstract and a description of the
code, not its equations, so these are our readings:

- A clip's class is unknown, so sentences cannot steer how its micro-prototypes grow in the
  network; they steer it by the loss, with which each round is held against the sentences.
- Attention, gate and layer norm are the plainest that do what the names say. Weights are shared by
  the rounds of one side, since micro-prototypes *evolve* under one law.
- Tokens and sentences get learned places, which start at zero: without them attention could not
  tell start from end.
- "Cosine logits scaled by 0.1" is a temperature: times 0.1 they could say almost nothing.
- Width, batch, momentum and weights of rounds are not on record: 256, 64, 0.9, alike.

Where we differ from the official code, and why:

- It reads ten sentences a class that GPT-4o-mini wrote, which we do not have. Here the spatial
  branch reads what our texts say of head, arms, torso and legs, the temporal one what they say of
  start, middle and end: sentences of the same two kinds, fewer of them.
- It counts a clip as right if *either* branch has it right, which no single prediction can do.
  ``union`` scores so to show what that is worth: where either branch's first choice is the true
  class that class gets the top score, and elsewhere the spatial branch, which is wrong there,
  decides alone. It needs the true classes, so such a run is marked and never ranked.
- No augmentation of test clips; the referee chooses the checkpoint, and the constants of GZSL,
  which the authors search on the test set.
- ``normalize`` and ``normalize_text`` are ours: without effect by default, on in ``laptop``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy, layer_norm, normalize, scaled_dot_product_attention

from zsar_alignment._tokens import PARTS, PHASES, averages, groups, stacked, token_statistics
from zsar_alignment._training import descend, train
from zsar_bench import params as zp
from zsar_bench.errors import UserError
from zsar_bench.params import among, between, science

if TYPE_CHECKING:
    from torch import Tensor

    from zsar_bench.contracts import FitContext, State
    from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

# --- Parameters ------------------------------------------------------------------------------


class Params(zp.Params):
    """Every choice of the method; the defaults are the official code's where they are known."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "laptop": {"width": 64, "normalize": "standardize", "normalize_text": "unit-variance"},
    }

    # network
    prototypes: int = science(80, "micro-prototypes I of a branch", ge=2)
    rounds: int = science(3, "rounds T of evolution", ge=1)
    width: int = science(256, "channels D of a micro-prototype", ge=2)
    normalize: Literal["none", "standardize"] = science(
        "none", "tokens as they come, or by mean and spread of the seen training clips"
    )
    normalize_text: Literal["none", "unit-variance"] = science(
        "none", "sentences as they come, or each to mean 0 and variance 1"
    )
    temperature: float = science(0.1, "divides cosines", among(0.03, 0.1, 0.3), gt=0)

    # optimisation
    lr: float = science(0.1, "learning rate of SGD", between(0.003, 0.3), gt=0)
    momentum: float = science(0.9, "momentum of SGD", ge=0, lt=1)
    epochs: int = science(30, "passes over the seen clips", between(10, 60), ge=1)
    batch: int = science(64, "clips a step", ge=1)

    # a leak
    union: bool = science(
        False, "count a clip as right if either branch is, as the authors do; reads true classes"
    )


# --- Network ---------------------------------------------------------------------------------


Places = tuple[tuple[int, ...], tuple[int, ...]]  #: tokens a kind of input, sentences likewise


class Side(nn.Module):
    """One side of a branch: how its micro-prototypes take in tokens, or sentences.

    ``channels`` C of what is read; ``places`` how many tokens each kind of input has (joints and
    parts, phases, or sentences); ``memory`` for the temporal rule instead of the spatial one.
    """

    def __init__(self, channels: int, places: tuple[int, ...], p: Params, memory: bool) -> None:
        super().__init__()
        self.query = nn.Linear(p.width, p.width)
        self.key = nn.Linear(channels, p.width)
        self.value = nn.Linear(channels, p.width)
        self.places = nn.ParameterList(torch.zeros(n, channels) for n in places)
        self.gate = nn.Linear(2 * p.width, p.width) if memory else None  # G
        self.readout = nn.Parameter(torch.randn(p.prototypes, p.width) / p.width**0.5)  # W_i

    def grow(self, prototypes: Tensor, tokens: Tensor) -> Tensor:
        """One round: P^{t-1} (N, I, D) and tokens (N, M, C) -> P^t."""
        e = scaled_dot_product_attention(
            self.query(prototypes), self.key(tokens), self.value(tokens)
        )
        if self.gate is None:
            return layer_norm(prototypes + e, e.shape[-1:])
        kept = self.gate(torch.cat([prototypes, e], dim=-1)).sigmoid()
        return layer_norm(kept * prototypes + (1 - kept) * e, e.shape[-1:])

    def forward(self, prototypes: Tensor, inputs: list[Tensor], rounds: int) -> Tensor:
        """P^0 (I, D) -> unit vectors v^t of all T rounds (T, N, I).

        ``inputs`` (N, M, C) of the first round, the second ...; the last for all that follow.
        """
        placed = [x + place for x, place in zip(inputs, self.places, strict=True)]
        state = prototypes.expand(len(inputs[0]), -1, -1)
        found = []
        for t in range(rounds):
            state = self.grow(state, placed[min(t, len(placed) - 1)])
            found.append((state * self.readout).sum(-1))
        return normalize(torch.stack(found), dim=-1)


class Branch(nn.Module):
    """Micro-prototypes and their two sides; channels and places of the skeleton, of the text."""

    def __init__(self, channels: tuple[int, int], places: Places, p: Params, memory: bool) -> None:
        super().__init__()
        self.rounds = p.rounds
        self.prototypes = nn.Parameter(torch.randn(p.prototypes, p.width))  # P^0
        self.skeleton = Side(channels[0], places[0], p, memory)
        self.text = Side(channels[1], places[1], p, memory)

    def forward(self, side: Literal["skeleton", "text"], inputs: list[Tensor]) -> Tensor:
        """v^t (T, N, I) of clips' tokens, or of classes' sentences."""
        found: Tensor = getattr(self, side)(self.prototypes, inputs, self.rounds)
        return found


# --- Loss and score --------------------------------------------------------------------------


def branch_loss(v: Tensor, u: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Mean over rounds of CE of cosines / temperature: unit v (T, N, I), u (T, S, I), (N,)."""
    logits = v @ u.transpose(1, 2) / temperature  # (T, N, S)
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


def contexts(texts: TextBank, p: Params) -> dict[str, Tensor]:
    """Sentences (K, R, D') of each branch."""
    return {
        "spatial": stacked(texts, PARTS, p.normalize_text),
        "temporal": stacked(texts, PHASES, p.normalize_text),
    }


class Neuron:
    """Neuron as a method of the harness (``zsar_bench.contracts.Method``)."""

    network: nn.ModuleDict

    def __init__(self, params: Params) -> None:
        self.params = params
        self.scaling: dict[str, Tensor] = {}

    def tokens(self, inputs: SkeletonInputs) -> dict[str, list[Tensor]]:
        """What each branch reads: [joints (N, V, C), parts (N, P, C)] and [phases (N, 3, C)]."""
        joint, part, phase = (groups(inputs, what) for what in ("joint", "part", "phase"))
        assert inputs.tokens is not None, "groups() has looked"
        x = (inputs.tokens.float() - self.scaling["mean"]) / self.scaling["spread"]
        return {
            "spatial": [averages(x, joint), averages(x, part)][: self.params.rounds],
            "temporal": [averages(x, phase)],
        }

    def build(self, channels: tuple[int, int], tokens: dict[str, tuple[int, ...]]) -> nn.ModuleDict:
        """Both branches; channels of tokens and sentences, a branch's tokens by kind of input."""
        sentences = {"spatial": len(PARTS), "temporal": len(PHASES)}
        return nn.ModuleDict(
            {
                name: Branch(channels, (tokens[name], (n,)), self.params, name == "temporal")
                for name, n in sentences.items()
            }
        )

    def fit(self, train_set: SeenTrain, run: FitContext) -> None:
        """Train both branches on the seen clips and the seen classes' sentences."""
        p, inputs, labels = self.params, train_set.inputs, train_set.labels
        groups(inputs, "joint")  # says what is missing
        assert inputs.tokens is not None, "groups() has looked"
        self.scaling = token_statistics(inputs.tokens, p.normalize)
        x, said = self.tokens(inputs), contexts(run.texts, p)
        channels = (x["spatial"][0].shape[2], said["spatial"].shape[2])
        places = {name: tuple(part.shape[1] for part in parts) for name, parts in x.items()}
        self.network = self.build(channels, places).to(run.device)
        optimiser = torch.optim.SGD(self.network.parameters(), lr=p.lr, momentum=p.momentum)

        def update(_: int, rows: Tensor) -> dict[str, Tensor]:
            losses = {}
            for name, branch in self.network.items():
                v = branch("skeleton", [part[rows] for part in x[name]])
                u = branch("text", [said[name]])
                losses[name] = branch_loss(v, u, labels[rows], p.temperature)
            losses["loss"] = losses["spatial"] + losses["temporal"]
            descend(optimiser, losses["loss"])
            return losses

        batch = min(p.batch, len(labels))
        steps = p.epochs * (len(labels) // batch)
        train(run, self.network, [optimiser], update, clips=len(labels), batch=batch, steps=steps)

    @torch.no_grad()
    def bind(self, candidates: TextBank) -> None:
        """Let the micro-prototypes grow under every candidate's sentences."""
        said = contexts(candidates, self.params)
        self.classes = {n: self.network[n]("text", [said[n]])[-1] for n in said}  # (K, I)

    @torch.no_grad()
    def score(self, inputs: SkeletonInputs) -> Tensor:
        """(N, K) mean of the branches' last-round logits; with ``union`` see above.

        Raises:
            UserError: if ``union`` is on and the clips come without their true classes.
        """
        x = self.tokens(inputs)
        spatial, temporal = (
            self.network[n]("skeleton", x[n])[-1] @ self.classes[n].T / self.params.temperature
            for n in ("spatial", "temporal")
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
        places: dict[str, tuple[int, ...]] = {}
        for name in ("spatial", "temporal"):
            under = f"{name}.skeleton.places."
            kinds = sum(key.startswith(under) for key in tensors)
            places[name] = tuple(len(tensors[f"{under}{i}"]) for i in range(kinds))
        channels = (len(state["mean"]), tensors["spatial.text.key.weight"].shape[1])
        self.network = self.build(channels, places).to(state["mean"].device)
        self.network.load_state_dict(tensors)
        self.network.eval()
