"""PURLS: attention that is asked by texts on the body, its parts and a motion's phases.

A. Zhu, Q. Ke, M. Gong, J. Bailey, "Part-aware Unified Representation of Language and Skeleton
for Zero-shot Action Recognition", CVPR 2024. A class has P texts: one of the whole action,
four of body parts, three of phases. A clip has M features u_1..u_M, one a joint and phase, each
of unit length. With the texts t_1..t_P (the first is the whole action's) of some class as query

    a_p  =  softmax_m( mean_h  (Q_h t_p) . (K_h u_m) / sqrt(d) )       heads h, one softmax
    r_p  =  sum_m a_pm u_m                                              no value projection
    [v_1 .. v_P]  =  MLP([r_1 .. r_P])                                  all levels together

and a batch of clips and their texts is contrasted in both directions, level by level:

    L  =  sum_p  CE(tau_p V_p T_p^T, diagonal)  +  CE(tau_p T_p V_p^T, diagonal)

tau_p is learned from ln(1/0.07) on, without an exponential. A clip is told by v_1 alone: class
c gets v_1 . t_1(c). What the other levels do is to shape attention and MLP.

Reproduced is the released code (azzh1/PURLS, configurations of NTU-60): attention shared by all
levels, one MLP over all of them, its layers, no level weights, no projection of texts. Where we
differ, and why:

- **Whose texts ask at test.** In the released code it is the true class's, at test as in
  training: a test clip's features then know the answer. Here they are not known. Each candidate
  asks with its own texts and is scored against its own global text (``query = candidate``, the
  reading that the paper's text suggests), so there are N x K visual vectors. With
  ``query = seen-mean`` the mean text of the seen classes asks for all, and there are N.
- **The leak** is kept as ``leak = true``: the referee then sends the labels, marks the run and
  ranks it with no other. It shows what the printed numbers owe to it.
- Training asks with the true class's texts, as published (labels of training clips are known).
  It never meets a question by a wrong class, which ``query = candidate`` is full of;
  ``train_query = candidate`` lets every seen class ask about every clip, each answer against the
  class that asked.
- The released code lowers the learning rate where the loss on the *test performers'* seen clips
  stands still, and keeps the checkpoint that is best there. Here it is constant (or a half
  cosine, ``schedule``), and the referee chooses the checkpoint.
- ``normalize`` standardises features before they are brought to unit length: encoders other than
  the authors' have channels with large means, beside which directions hardly differ.
  ``normalize_text`` brings texts to unit length; the released code takes them as they come.
- ``contrast = classes`` sets a clip against every seen class once. In the released code other
  clips of its class are its negatives, with the very text that is its own: the fewer classes
  there are, the more of a batch says nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsar_alignment import _training
from zsar_alignment._features import channel_statistics
from zsar_bench import params as zp
from zsar_bench.params import among, between, runtime, science

if TYPE_CHECKING:
    from zsar_bench.contracts import FitContext, State
    from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

# --- Parameters ------------------------------------------------------------------------------


class Params(zp.Params):
    """Attention, loss and questions of PURLS. Defaults: the released configurations."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "laptop": {
            "query_channels": 32,
            "hidden": 256,
            "normalize": "standardize",
            "lr": 1e-3,
            "batch": 64,
            "epochs": 100,
            "schedule": "cosine",
        },
    }

    # network
    query_channels: int = science(150, "d: channels of query and key of a head", ge=1)
    heads: int = science(2, "heads, whose logits are averaged before one softmax", ge=1)
    hidden: int = science(1024, "hidden channels of the MLP", ge=1)
    dropout: float = science(0.5, "dropout before each layer of the MLP", ge=0, lt=1)
    normalize: Literal["none", "standardize"] = science(
        "none", "features before they get unit length: as they come, or each channel standardised"
    )
    normalize_text: Literal["none", "unit"] = science(
        "none", "texts as they come, or each of unit length"
    )

    # questions
    query: Literal["candidate", "seen-mean"] = science(
        "candidate", "whose texts ask at test: each candidate's own, or the seen classes' mean"
    )
    leak: bool = science(
        False, "ask with the true class's texts at test, as the released code does; never ranked"
    )
    train_query: Literal["true", "candidate"] = science(
        "true", "whose texts ask in training: the clip's class's, or every seen class's"
    )

    # loss
    temperature: float = science(
        math.log(1 / 0.07), "tau at the start: factor of the inner products", gt=0
    )
    local_weight: float = science(
        1.0, "weight of the losses of body parts and phases", search=between(0.05, 2.0), ge=0
    )
    contrast: Literal["batch", "classes"] = science(
        "batch",
        "a clip against the texts of its batch, both ways, or against every seen class once",
        search=among("batch", "classes"),
    )

    # optimisation
    lr: float = science(1e-4, "learning rate of Adam", search=between(3e-5, 3e-3), gt=0)
    schedule: Literal["constant", "cosine"] = science(
        "constant", "learning rate: constant, or half a cosine down to zero"
    )
    batch: int = science(256, "clips a step", ge=2)
    epochs: int = science(100, "times that every clip is met", search=between(10, 100), ge=1)

    # scoring
    score_batch: int = runtime(2048, "pairs of clip and candidate scored at once", ge=1)


# --- Network ---------------------------------------------------------------------------------


class Network(nn.Module):
    """Attention over a clip's features and the MLP to text space.

    Args:
        p: parameters.
        levels: P texts a class.
        channels: C of a feature.
        text_channels: D of a text.
    """

    def __init__(self, p: Params, levels: int, channels: int, text_channels: int) -> None:
        super().__init__()
        width = p.heads * p.query_channels
        self.levels, self.scale = levels, 1 / (p.heads * math.sqrt(p.query_channels))
        self.query = nn.Linear(text_channels, width, bias=False)
        self.key = nn.Linear(channels, width, bias=False)
        self.mlp = nn.Sequential(
            nn.BatchNorm1d(levels * channels),
            nn.Dropout(p.dropout),
            nn.Linear(levels * channels, p.hidden),
            nn.SiLU(),
            nn.BatchNorm1d(p.hidden),
            nn.Dropout(p.dropout),
            nn.Linear(p.hidden, levels * text_channels),
            nn.Tanh(),
        )
        self.tau = nn.Parameter(torch.full((levels,), p.temperature))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights, Kaiming uniform; biases are zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_uniform_(module.weight, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def attend(self, u: Tensor, texts: Tensor) -> Tensor:
        """r: what some texts see in clips.

        The mean over heads of inner products is one inner product over all heads' channels.

        Args:
            u: (N, M, C) features.
            texts: (..., Q, D), the leading dimensions as N or absent.

        Returns:
            (N, Q, C).
        """
        logits = self.query(texts) @ self.key(u).transpose(1, 2) * self.scale  # (N, Q, M)
        return logits.softmax(dim=-1) @ u

    def project(self, r: Tensor) -> Tensor:
        """v (n, P, D) of r (n, P, C)."""
        projected: Tensor = self.mlp(r.flatten(1))
        return projected.unflatten(1, (self.levels, -1))

    def forward(self, u: Tensor, texts: Tensor) -> Tensor:
        """v (N, P, D) of clips (N, M, C) that are asked with texts (N, P, D) or (P, D)."""
        return self.project(self.attend(u, texts))

    def every(self, u: Tensor, texts: Tensor) -> Tensor:
        """v (N, K, P, D): every clip asked by every class.

        Args:
            u: (N, M, C).
            texts: (K, P, D).
        """
        classes = len(texts)
        r = self.attend(u, texts.flatten(0, 1))  # (N, K P, C)
        r = r.unflatten(1, (classes, self.levels)).flatten(0, 1)  # (N K, P, C)
        return self.project(r).unflatten(0, (len(u), classes))


# --- Loss ------------------------------------------------------------------------------------


def contrastive(logits: Tensor, labels: Tensor, contrast: str) -> Tensor:
    """L of every level: (P,).

    Args:
        logits: (P, B, S) clips in rows, seen classes in columns.
        labels: (B,) classes of the clips.
        contrast: ``batch``: with the texts of the batch, one a clip, in both directions;
            ``classes``: with every class once, from clip to text.
    """
    targets = labels.expand(len(logits), -1)  # (P, B)
    if contrast == "batch":
        logits = logits[:, :, labels]  # (P, B, B)
        targets = torch.arange(len(labels), device=labels.device).expand(len(logits), -1)
    losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    if contrast == "batch":
        losses = losses + F.cross_entropy(logits, targets, reduction="none")
    return losses.mean(dim=1)


# --- The method ------------------------------------------------------------------------------


class PURLS:
    """PURLS as a method of the harness (``zsar_bench.contracts.Method``)."""

    _network: Network
    _mean: Tensor  #: (C,) taken off the features
    _spread: Tensor  #: (C,) that they are divided by
    _asked: Tensor  #: (P, D) mean texts of the seen classes
    _texts: Tensor  #: (K, P, D) of the candidates

    def __init__(self, params: Params) -> None:
        self.params = params

    def texts(self, bank: TextBank) -> Tensor:
        """(K, P, D): a class's texts, the first being the whole action's."""
        texts = torch.stack([field.pooled.float() for field in bank.fields.values()], dim=1)
        return F.normalize(texts, dim=-1) if self.params.normalize_text == "unit" else texts

    def prepare(self, inputs: SkeletonInputs) -> Tensor:
        """u (N, M, C): features of unit length."""
        assert inputs.tokens is not None  # this method wants tokens
        return F.normalize((inputs.tokens.float() - self._mean) / self._spread, dim=-1)

    # -- training

    def fit(self, train: SeenTrain, run: FitContext) -> None:
        """Train on the seen clips; continues at the last checkpoint of an interrupted fit."""
        p, texts, labels = self.params, self.texts(run.texts), train.labels
        tokens = train.inputs.tokens
        assert tokens is not None
        channels = tokens.shape[-1]
        self._mean, self._spread = tokens.new_zeros(channels), tokens.new_ones(channels)
        if p.normalize == "standardize":
            self._mean, self._spread = channel_statistics(tokens.float().flatten(0, 1))
        self._asked = texts.mean(dim=0)
        self._network = Network(p, texts.shape[1], channels, texts.shape[2]).to(run.device)
        self._network.initialise(run.generator)
        adam = torch.optim.Adam(self._network.parameters(), lr=p.lr)
        u = self.prepare(train.inputs)
        steps = p.epochs * max(len(u) // min(p.batch, len(u)), 1)

        def update(step: int, rows: Tensor) -> dict[str, Tensor]:
            if len(rows) == 1:  # batch norm measures a spread
                rows = rows.repeat(2)
            if p.schedule == "cosine":
                _training.set_rate(adam, p.lr * 0.5 * (1 + math.cos(math.pi * step / steps)))
            own = labels[rows]
            losses = contrastive(self._logits(u[rows], own, texts), own, p.contrast)
            loss = losses[0] + p.local_weight * losses[1:].sum()
            _training.descend(adam, loss)
            return {"loss": loss, "global": losses[0]}

        _training.train(
            run, self._network, [adam], update, clips=len(u), batch=p.batch, steps=steps
        )

    def _logits(self, u: Tensor, labels: Tensor, texts: Tensor) -> Tensor:
        """tau v . t of every level for clips u (B, M, C) and all classes (S, P, D): (P, B, S)."""
        if self.params.train_query == "true":
            products = torch.einsum("ipd,cpd->pic", self._network(u, texts[labels]), texts)
        else:
            products = torch.einsum("icpd,cpd->pic", self._network.every(u, texts), texts)
        return self._network.tau[:, None, None] * products

    # -- scoring

    def bind(self, candidates: TextBank) -> None:
        """Keep the candidates' texts."""
        self._texts = self.texts(candidates)

    @torch.no_grad()
    def score(self, inputs: SkeletonInputs) -> Tensor:
        """(N, K): inner product of a clip's global vector and a candidate's global text."""
        u = self.prepare(inputs)
        asked = torch.cat([self._texts, self._asked[None]])[self._whose(inputs)]  # (N, P, D)
        size = max(self.params.score_batch // (1 if self._one_asks else len(self._texts)), 1)
        parts = zip(u.split(size), asked.split(size), strict=True)
        return torch.cat([self._score(clips, texts) for clips, texts in parts])

    @property
    def _one_asks(self) -> bool:
        """Whether a clip is asked once, whoever the candidates are."""
        return self.params.leak or self.params.query == "seen-mean"

    def _whose(self, inputs: SkeletonInputs) -> Tensor:
        """(N,) the candidate whose texts ask, where one does; -1: the seen classes' mean."""
        if self.params.leak:
            assert inputs.labels is not None  # the referee sends them: spec and parameter say so
            return inputs.labels
        return torch.full((len(inputs),), -1, device=inputs.pooled.device)

    def _score(self, u: Tensor, asked: Tensor) -> Tensor:
        whole = self._texts[:, 0]  # (K, D)
        if self._one_asks:
            answer: Tensor = self._network(u, asked)[:, 0] @ whole.T
            return answer
        return (self._network.every(u, self._texts)[:, :, 0] * whole).sum(dim=-1)

    # -- state

    def state_dict(self) -> State:
        """Weights, channel statistics and the mean seen texts."""
        weights = {f"network.{k}": v for k, v in self._network.state_dict().items()}
        return {**weights, "mean": self._mean, "spread": self._spread, "asked": self._asked}

    def load_state_dict(self, state: State) -> None:
        """Take over another instance's state; sizes follow from the tensors' shapes."""
        self._mean, self._spread = state["mean"], state["spread"]
        self._asked = state["asked"]
        levels, text_channels = self._asked.shape
        network = Network(self.params, levels, len(self._mean), text_channels)
        network.load_state_dict(
            {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
        )
        self._network = network.to(self._mean.device).eval()
