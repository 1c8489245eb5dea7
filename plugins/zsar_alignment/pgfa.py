"""PGFA: skeleton encoder and text aligned end to end, then prototypes of what is to be scored.

K. Zhou, S. Zhang, Z. You, J. Hu, M. Tan, F. Liu, "Zero-Shot Skeleton-Based Action Recognition
With Prototype-Guided Feature Alignment", IEEE TIP 2025, arXiv 2507.00566. A skeleton encoder f
and a linear map A to the texts' width are trained together. In a batch of B clips with texts t
of their classes, and cosines

    s_ij = cos(A f(x_i), t_j) / tau,

both directions of the similarity should look like a target that knows which clips share a class:

    L = (KL(P || softmax_j s_ij) + KL(P || softmax_i s_ij)) / 2,
    P_ij = softmax_j(10 * [y_i = y_j]),

averaged over the rows. At test every clip gets the class of the nearest text; of each class's
clips the share with the lowest entropy of softmax_k cos(A f(x), t_k) is averaged, features of
unit length, to a visual prototype, and clips are scored by their cosine with the prototypes
(with the text where a class has too few clips for one). ``pgfa`` does that and is therefore
transductive; ``pgfa-inductive`` is the same training scored by the cosine with the texts.

Where we differ from the authors' code (kaai520/PGFA, commit 3cc9e9a6), and why:

- Theirs trains a small ST-GCN from scratch. Here training starts from the round's skeleton
  encoder, whichever it is, which has learned the same seen clips; the first weights of an
  encoder are its own affair, and no contract lets a method ask for them. Theirs has the same
  start as an option (``finetune``). Input is what that encoder makes of raw clips, without its
  augmentations: these belong to its training.
- The referee chooses the checkpoint; theirs keeps the epoch that is best on the test clips, and
  reports the mean of batches' accuracies.
- ``keep`` is 0.9 for every data set, as theirs is for NTU-60; theirs differs per data set (0.4,
  0.9, 1.0), and so does the rate (0.005 on NTU-120).
- The rate rises over the first five epochs step by step. Theirs rises once an epoch and is zero
  in the first one. Its two falls come at epochs 50 and 80, which the 50 epochs never reach.
- A training set smaller than the batch is one batch.
- tau is fixed. Theirs starts at 0.07, too (so a fork of it says; the file itself is not at hand),
  and is not among the weights that its optimiser is given.

The unseen classes' texts that a transductive method may read in ``fit`` are not read.

Shapes: N clips, B clips a batch, C encoder channels, D text channels, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, normalize, softmax

from zsar_alignment._features import joined
from zsar_alignment._training import descend, set_rate
from zsar_alignment._training import train as train_loop
from zsar_bench import params as zp
from zsar_bench.params import between, science

if TYPE_CHECKING:
    from zsar_bench.contracts import FitContext, SkeletonEncoder, State
    from zsar_bench.views import SeenTrain, SkeletonInputs, TextBank

# --- Parameters ------------------------------------------------------------------------------


class InductiveParams(zp.Params):
    """The training."""

    profiles: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        # Smaller batches, so that a few hundred clips make enough steps in a dozen epochs.
        "laptop": {"epochs": 12, "warmup": 1.0, "batch": 32},
    }

    temperature: float = science(
        0.07, "tau: cosines are divided by it in the loss", between(0.02, 0.5), gt=0
    )
    sharpness: float = science(10.0, "of the target: 0 is the same for all pairs", ge=0)
    lr: float = science(0.05, "learning rate of SGD", between(0.002, 0.2), gt=0)
    momentum: float = science(0.9, "momentum of SGD", ge=0, lt=1)
    weight_decay: float = science(5e-4, "weight decay of SGD", between(1e-5, 1e-2), ge=0)
    warmup: float = science(5.0, "epochs in which the rate rises linearly", ge=0)
    epochs: int = science(50, "passes over the training clips", ge=1)
    batch: int = science(128, "clips a step", ge=1)


class Params(InductiveParams):
    """The training, and what is done with the clips to be scored."""

    keep: float = science(
        0.9,
        "share of a class's clips, the surest ones, in its prototype",
        between(0.2, 1),
        gt=0,
        le=1,
    )


# --- Loss and prototypes ---------------------------------------------------------------------


def contrastive_loss(
    z: Tensor, texts: Tensor, labels: Tensor, temperature: float, sharpness: float
) -> Tensor:
    """L above.

    Args:
        z: (B, D) of unit length, clips in the texts' space.
        texts: (B, D) of unit length, the text of each clip's class.
        labels: (B,) classes.
        temperature: tau.
        sharpness: 10 in P.
    """
    logits = z @ texts.T / temperature  # (B, B)
    same = (labels[:, None] == labels).to(logits.dtype)
    target = softmax(sharpness * same, dim=1)  # symmetric, so it serves both directions
    skeleton = kl_div(log_softmax(logits, dim=1), target, reduction="batchmean")
    text = kl_div(log_softmax(logits.T, dim=1), target, reduction="batchmean")
    return (skeleton + text) / 2


def visual_prototypes(z: Tensor, texts: Tensor, keep: float) -> Tensor:
    """(K, D) of unit length: what clips that look like each class have in common.

    Args:
        z: (N, D) of unit length, the clips to be scored.
        texts: (K, D) of unit length.
        keep: share of each pseudo-labelled class that is averaged, rounded down to whole clips;
            a class with none keeps its text.
    """
    # In float64, or rounding would decide which of two clips is the surer one.
    cosines = z.double() @ texts.double().T  # (N, K)
    chances = softmax(cosines, dim=1)
    entropy = -(chances * chances.log()).sum(dim=1)
    nearest = cosines.argmax(dim=1)
    prototypes = texts.clone()
    for k in range(len(texts)):
        clips = (nearest == k).nonzero().flatten()
        count = int(len(clips) * keep)
        if count:
            surest = clips[entropy[clips].argsort(stable=True)[:count]]
            prototypes[k] = z[surest].mean(dim=0)
    return normalize(prototypes, dim=1)


# --- The methods -----------------------------------------------------------------------------


class PGFAInductive:
    """Alignment end to end, scored by texts (``zsar_bench.contracts.Method``)."""

    _encoder: SkeletonEncoder
    _project: nn.Linear  #: A, C to D
    _prototypes: Tensor  #: (K, D) of unit length

    def __init__(self, params: InductiveParams) -> None:
        self.params = params

    def fit(self, train: SeenTrain, run: FitContext) -> None:
        """Train the encoder on, together with A; continues after a kill."""
        p, clips = self.params, train.inputs.clips
        if run.encoder is None or clips is None:
            raise ValueError("pgfa trains the skeleton encoder on raw clips: it needs both")
        self._encoder = run.encoder
        network = run.encoder.module().to(run.device)
        texts = normalize(joined(run.texts).float(), dim=1)  # (K, D)
        with torch.no_grad():
            channels = run.encoder.encode(clips.rows(train.labels.new_zeros(1))).pooled.shape[1]
        self._project = nn.Linear(channels, texts.shape[1], device=run.device)
        nn.init.kaiming_normal_(self._project.weight, mode="fan_out", generator=run.generator)
        nn.init.zeros_(self._project.bias)

        both = nn.ModuleDict({"encoder": network, "project": self._project})
        optimiser = torch.optim.SGD(
            both.parameters(), lr=p.lr, momentum=p.momentum, weight_decay=p.weight_decay
        )
        batches = max(1, len(train) // p.batch)
        rise = p.warmup * batches  # steps

        def update(step: int, rows: Tensor) -> dict[str, Tensor]:
            set_rate(optimiser, p.lr * min(1.0, (step + 1) / max(rise, 1.0)))
            z = normalize(self._project(network(clips.rows(rows)).pooled), dim=1)
            labels = train.labels[rows]
            loss = contrastive_loss(z, texts[labels], labels, p.temperature, p.sharpness)
            descend(optimiser, loss)
            return {"loss": loss}

        # A batch is cut to its longest clip and its bodies are counted: its encoder waits for
        # the device, so this loop may.
        train_loop(
            run, both, [optimiser], update,
            clips=len(train), batch=p.batch, steps=p.epochs * batches,
        )  # fmt: skip

    def take_encoder(self, encoder: SkeletonEncoder) -> None:
        """The encoder that ``load_state_dict`` gives its trained weights to."""
        self._encoder = encoder

    @torch.no_grad()
    def embed(self, inputs: SkeletonInputs) -> Tensor:
        """(N, D) of unit length: the clips in the texts' space, each on its own."""
        assert inputs.clips is not None, "the spec wants them"
        return normalize(self._project(self._encoder.encode(inputs.clips).pooled), dim=1)

    def bind(self, candidates: TextBank) -> None:
        """Take the candidates' texts as prototypes."""
        self._texts = normalize(joined(candidates).float(), dim=1)
        self._prototypes = self._texts

    def score(self, inputs: SkeletonInputs) -> Tensor:
        """(N, K): cosine of each clip with each prototype."""
        return self.embed(inputs) @ self._prototypes.T

    def state_dict(self) -> State:
        """The encoder's own state under ``encoder.``, and A under ``project.``."""
        state = {f"encoder.{name}": value for name, value in self._encoder.state_dict().items()}
        return state | {f"project.{n}": v for n, v in self._project.state_dict().items()}

    def load_state_dict(self, state: State) -> None:
        """Give the taken encoder its weights back; A's sizes follow from its weights."""
        self._encoder.load_state_dict(_under("encoder.", state))
        weight = state["project.weight"]  # (D, C)
        self._project = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device)
        self._project.load_state_dict(_under("project.", state))


class PGFA(PGFAInductive):
    """The same, scored by visual prototypes of the clips to be scored."""

    params: Params

    def adapt(self, inputs: SkeletonInputs) -> None:
        """Replace the texts by prototypes of the clips that look like them."""
        self._prototypes = visual_prototypes(self.embed(inputs), self._texts, self.params.keep)


def _under(prefix: str, state: State) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
