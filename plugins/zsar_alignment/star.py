"""STAR: body parts of the skeleton meet texts of body parts, helped by prompts on both sides.

Y. Chen, J. Guo, T. He, L. Wang, "Fine-Grained Side Information Guided Dual-Prompts for Zero-Shot
Skeleton Action Recognition", ACM MM 2024, arXiv 2404.07487; equations and values of the official
code (cseeyangchen/STAR, its NTU-60 configuration). I learnable prompts p_i of a part ask the
part's tokens x by multi-head attention, an MLP f takes up each answer, and it is read out as one
number:

    a_i = p_i^T W f(MHA(query p_i, keys and values x))     attributes a (I,) of a part
    s(c, part) = cos(a_part, g_part(t_c,part + q_c,part))
    s(c)       = cos(sum over parts a_part, h(name_c))

g and h are MLPs to I channels, t_c,part the text of what a part does, q_c,part a learnable
prompt. With y the true class and CE a cross-entropy over seen classes of s / temperature,

    loss = global_weight CE(s(c), y) + part_weight mean over parts CE(s(c, part), y)
         + text_weight mean over parts, classes c of CE(<g_part(t_c,part + q_c,part), h(.)>, c)

where the last one has plain inner products with all class names. All prompts and W start standard
normal. A clip scores s(c): part texts and their prompts have no part in it, so it does not matter
that an unseen class has no trained prompt.

Where we differ from the official code, and why:

- Its last term holds the texts of all classes, unseen ones included. ``star`` takes those of the
  seen classes and stays inductive; ``star-all-texts``, which is this class under the setting
  ``class-transductive``, takes all. Both cross-entropies of clips are over seen classes in both.
- Four parts (head, arms, torso, legs), as our texts and layouts have; theirs are head, hands, arms,
  hips, legs and feet. A part without a token, because a data set has no such joint, is left out.
- Its part texts begin with the class name. Ours are what the run's text set says of the part.
- Its NTU network takes (body, channel, frame, joint) in memory for (channel, frame, joint, body),
  so what it calls a part's tokens mixes joints, frames and channels. Our tokens are joints'.
- Its frozen encoder still takes batch statistics in training. Features are fixed here.
- No random turn or crop of clips, which stays on at test in the official code. The referee chooses
  the checkpoint, and the constant of GZSL, which the authors sweep on the test set.
- ``normalize``, ``normalize_text`` and ``temperature`` are ours: without effect by default, on in
  ``laptop``, because features and sentence embeddings here have other scales than theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from pydantic import model_validator
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from zsar_alignment._tokens import PARTS, class_text, groups, stacked, token_statistics
from zsar_alignment._training import descend, set_rate, train
from zsar_bench import params as zp
from zsar_bench.params import among, between, science

if TYPE_CHECKING:
    from torch import Tensor

    from zsar_bench.contracts import FitContext, State
    from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

# --- Parameters ------------------------------------------------------------------------------


class Params(zp.Params):
    """Every choice of the method; the defaults are the official code's for NTU-60."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "laptop": {
            "prompts": 64,
            "width": 64,
            "hidden": 128,
            "normalize": "standardize",
            "normalize_text": "unit-variance",
            "temperature": 0.1,
            "lr": 0.05,
            "epochs": 30,
            "milestones": (20, 26),
        },
    }

    # network
    prompts: int = science(100, "prompts I of a body part, and channels of both sides", ge=2)
    width: int = science(768, "channels of a prompt", ge=1)
    heads: int = science(4, "attention heads; must divide the width", ge=1)
    hidden: int = science(256, "hidden width of the MLPs of texts", ge=1)
    normalize: Literal["none", "standardize"] = science(
        "none", "tokens as they come, or by mean and spread of the seen training clips"
    )
    normalize_text: Literal["none", "unit-variance"] = science(
        "none", "texts as they come, or each to mean 0 and variance 1"
    )

    # loss
    temperature: float = science(
        1.0, "divides cosines of clips in the losses", among(1.0, 0.3, 0.1, 0.05), gt=0
    )
    global_weight: float = science(
        0.1, "weight of whole clips against class names", between(0.05, 2.0), ge=0
    )
    part_weight: float = science(1.0, "weight of parts against part texts", ge=0)
    text_weight: float = science(
        0.1, "weight of part texts against class names", between(0.01, 1.0), ge=0
    )

    # optimisation
    lr: float = science(0.01, "learning rate of SGD", between(0.003, 0.1), gt=0)
    momentum: float = science(0.9, "Nesterov momentum of SGD", gt=0, lt=1)
    weight_decay: float = science(5e-4, "weight decay of SGD", ge=0)
    epochs: int = science(40, "passes over the seen clips", ge=1)
    milestones: tuple[int, ...] = science((10, 20), "epochs after which the rate falls tenfold")
    batch: int = science(64, "clips a step", ge=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        return self


# --- Network ---------------------------------------------------------------------------------


class PartPrompts(nn.Module):
    """Prompts of one body part that ask its tokens (N, M, C) for attributes (N, I)."""

    def __init__(self, channels: int, p: Params) -> None:
        super().__init__()
        self.prompts = nn.Parameter(torch.randn(p.prompts, p.width))  # p_i
        self.attention = nn.MultiheadAttention(
            p.width, p.heads, kdim=channels, vdim=channels, batch_first=True
        )
        self.taken = nn.Sequential(  # f
            nn.Linear(p.width, p.width), nn.ReLU(), nn.Linear(p.width, p.width)
        )
        self.bilinear = nn.Parameter(torch.randn(p.width, p.width))  # W

    def forward(self, x: Tensor) -> Tensor:
        asked = self.prompts.expand(len(x), -1, -1)
        answers, _ = self.attention(asked, x, x, need_weights=False)
        a: Tensor = (self.taken(answers) * (self.prompts @ self.bilinear)).sum(-1)
        return a


def mlp(channels: int, p: Params) -> nn.Sequential:
    """A text's way to the I channels of the attributes."""
    return nn.Sequential(nn.Linear(channels, p.hidden), nn.ReLU(), nn.Linear(p.hidden, p.prompts))


class Network(nn.Module):
    """Both sides.

    Args:
        channels: C of a token.
        name_channels: of a class-name text.
        part_channels: D of a part text.
        classes: whose part texts get a prompt.
    """

    def __init__(
        self, p: Params, channels: int, name_channels: int, part_channels: int, classes: int
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleList(PartPrompts(channels, p) for _ in PARTS)
        self.name = mlp(name_channels, p)  # h
        self.part_texts = nn.ModuleList(mlp(part_channels, p) for _ in PARTS)  # g
        self.text_prompts = nn.Parameter(torch.randn(classes, len(PARTS), part_channels))  # q

    def attributes(self, x: Tensor, places: dict[int, Tensor]) -> Tensor:
        """Tokens (N, M, C) -> attributes (parts that have tokens, N, I)."""
        return torch.stack([self.parts[part](x[:, at]) for part, at in places.items()])

    def texts(self, part_texts: Tensor, places: dict[int, Tensor]) -> Tensor:
        """Part texts (classes, parts, D) -> what g makes of the same parts (parts, classes, I)."""
        prompted = part_texts + self.text_prompts
        return torch.stack([self.part_texts[part](prompted[:, part]) for part in places])


# --- Loss ------------------------------------------------------------------------------------

Losses = dict[str, torch.Tensor]  #: "loss" and its terms


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits (P, N, K) with the same labels (N,) in each of P parts, averaged."""
    return cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)))


def star_losses(a: Tensor, g: Tensor, h: Tensor, labels: Tensor, seen: int, p: Params) -> Losses:
    """The loss and its terms.

    Args:
        a: (P, B, I) attributes of clips.
        g: (P, A, I) of part texts, those of the seen classes first.
        h: (A, I) of class names.
        labels: (B,) in [0, seen).
        seen: number S of seen classes, at most A.
        p: weights and temperature.
    """
    whole = normalize(a.sum(0), dim=-1) @ normalize(h[:seen], dim=-1).T  # (B, S)
    parts = normalize(a, dim=-1) @ normalize(g[:, :seen], dim=-1).transpose(1, 2)  # (P, B, S)
    texts = g @ h.T  # (P, A, A)
    every = torch.arange(len(h), device=h.device)
    terms = {
        "global": p.global_weight * cross_entropy(whole / p.temperature, labels),
        "part": p.part_weight * mean_cross_entropy(parts / p.temperature, labels),
        "text": p.text_weight * mean_cross_entropy(texts, every),
    }
    return {"loss": terms["global"] + terms["part"] + terms["text"], **terms}


# --- The method ------------------------------------------------------------------------------


class STAR:
    """STAR as a method of the harness (``zsar_bench.contracts.Method``)."""

    network: Network

    def __init__(self, params: Params) -> None:
        self.params = params
        self.scaling: dict[str, Tensor] = {}

    def prepare(self, inputs: SkeletonInputs) -> Tensor:
        """Tokens (N, M, C) as the network sees them."""
        assert inputs.tokens is not None, "groups() has looked"
        return (inputs.tokens.float() - self.scaling["mean"]) / self.scaling["spread"]

    def fit(self, train_set: SeenTrain, run: FitContext) -> None:
        """Train on the seen clips; part texts of unseen classes join in if the setting has them."""
        p, inputs, labels = self.params, train_set.inputs, train_set.labels
        places = groups(inputs, "part")
        assert inputs.tokens is not None, "groups() has looked"
        self.scaling = token_statistics(inputs.tokens, p.normalize)
        x = self.prepare(inputs)
        banks = [run.texts] if run.unseen_texts is None else [run.texts, run.unseen_texts]
        names = torch.cat([class_text(bank, "name", p.normalize_text) for bank in banks])
        part_texts = torch.cat([stacked(bank, PARTS, p.normalize_text) for bank in banks])
        seen = len(run.texts)
        self.network = Network(p, x.shape[2], names.shape[1], part_texts.shape[2], len(names)).to(
            run.device
        )
        optimiser = torch.optim.SGD(
            self.network.parameters(), p.lr, p.momentum, weight_decay=p.weight_decay, nesterov=True
        )
        batch = min(p.batch, len(x))
        batches = len(x) // batch

        def update(step: int, rows: Tensor) -> Losses:
            set_rate(optimiser, p.lr * 0.1 ** sum(step // batches >= m for m in p.milestones))
            losses = star_losses(
                self.network.attributes(x[rows], places),
                self.network.texts(part_texts, places),
                self.network.name(names),
                labels[rows],
                seen,
                p,
            )
            descend(optimiser, losses["loss"])
            return losses

        steps = p.epochs * batches
        train(run, self.network, [optimiser], update, clips=len(x), batch=batch, steps=steps)

    @torch.no_grad()
    def bind(self, candidates: TextBank) -> None:
        """Map the candidates' class names; nothing else of them is read."""
        names = class_text(candidates, "name", self.params.normalize_text)
        self.classes = normalize(self.network.name(names), dim=-1)  # (K, I)

    @torch.no_grad()
    def score(self, inputs: SkeletonInputs) -> Tensor:
        """(N, K) cosines s(c)."""
        places = groups(inputs, "part")
        whole = self.network.attributes(self.prepare(inputs), places).sum(0)
        return normalize(whole, dim=-1) @ self.classes.T

    def state_dict(self) -> State:
        """The network's tensors and the tokens' ``mean`` and ``spread`` (C,)."""
        tensors = self.network.state_dict()
        return {f"network.{name}": value for name, value in tensors.items()} | self.scaling

    def load_state_dict(self, state: State) -> None:
        """Rebuild the network from the shapes of another instance's state."""
        tensors = {k.removeprefix("network."): v for k, v in state.items() if "." in k}
        self.scaling = {name: state[name] for name in ("mean", "spread")}
        classes, _, part_channels = tensors["text_prompts"].shape
        self.network = Network(
            self.params,
            len(state["mean"]),
            tensors["name.0.weight"].shape[1],
            part_channels,
            classes,
        ).to(state["mean"].device)
        self.network.load_state_dict(tensors)
        self.network.eval()
