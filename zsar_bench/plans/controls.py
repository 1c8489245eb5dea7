"""Text controls: the same run with uninformative texts, to detect other sources of accuracy.

A method that recognises classes by their texts alone must fall to 1/K when texts carry no
information about classes. Accuracy above 1/K then comes from elsewhere: the order of clips or
candidates, a label in the features, the true class's text used as a query.

- ``shuffled-unseen``: candidate k gets the text of candidate k + s, modulo K, for all K shifts
  s; the fit is that of the plain run, and shift 0 is the plain run. Over all shifts, the accuracy
  of a method that is equivariant (permuted texts give permuted scores) averages to exactly 1/K
  for every clip.
- ``shuffled-all``: a random permutation of the texts of all classes, then fit and score.
- ``random``: every class gets random features in place of its text's, then fit and score.
- ``shuffled-seen``: a random permutation among the seen classes only. Unseen texts stay true,
  so the expected mean is not 1/K: it shows how much of an accuracy needs a true fit.

A draw is one shift, permutation or set of features. For ``shuffled-all`` and ``random``
candidates' texts are exchangeable, so every draw has the expectation 1/K; permutations are
therefore uniform, with fixed points and the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.common.files import write_bytes
from zsar_bench.common.hashing import content_order, derive_seed
from zsar_bench.errors import UserError, unknown
from zsar_bench.features.text_embeddings import TextPlan, bank_tensors, read_text_features

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


SHUFFLED_UNSEEN = "shuffled-unseen"
SHUFFLED_ALL = "shuffled-all"
RANDOM = "random"
SHUFFLED_SEEN = "shuffled-seen"
KINDS = (SHUFFLED_UNSEEN, SHUFFLED_ALL, RANDOM, SHUFFLED_SEEN)

DRAWS = 20  #: draws by default; fewer give no verdict
MAX_DRAWS = 1000


@dataclass(frozen=True)
class Control:
    """One draw of a text control.

    Attributes:
        kind: one of ``KINDS``.
        draw: the shift, or the number that seeds a permutation or features.
    """

    kind: str
    draw: int

    @property
    def identity(self) -> dict[str, Any]:
        """Its part of a run's identity."""
        return {"kind": self.kind, "draw": self.draw}

    def sources(self, seen: Sequence[str], unseen: Sequence[str]) -> dict[str, str]:
        """Class id -> the class whose text it gets.

        For ``random`` only the number of its tokens is used: a text's length may reveal its class
        and is therefore permuted too.
        """
        unmoved = {c: c for c in (*seen, *unseen)}
        if self.kind == SHUFFLED_UNSEEN:
            count = len(unseen)
            return unmoved | {c: unseen[(k + self.draw) % count] for k, c in enumerate(unseen)}
        moved = list(seen) if self.kind == SHUFFLED_SEEN else [*seen, *unseen]
        salt = ("text-control", self.kind, self.draw)
        order = content_order((c.encode() for c in moved), *salt)
        return unmoved | {c: moved[i] for c, i in zip(moved, order.tolist(), strict=True)}

    def write_bank(
        self, plan: TextPlan, fields: dict[str, list[str]], classes: list[str], path: Path
    ) -> None:
        """Write the text bank that these classes get under the control.

        Args:
            plan: encoded texts.
            fields: field -> the text that each class gets, in order.
            classes: the bank's rows.
            path: file to write.
        """
        from safetensors.numpy import save

        tensors = bank_tensors(plan, fields)
        if self.kind == RANDOM:
            features = read_text_features(plan)
            real = features["tokens"][features["mask"]]
            for part, like in (("pooled", features["pooled"]), ("tokens", real)):
                length = _mean_length(like)
                for field in fields:
                    tensors[f"{field}.{part}"] = self._directions(
                        tensors[f"{field}.{part}"].shape, classes, f"{field}.{part}", length
                    )
        write_bytes(path, save(tensors))

    def _directions(
        self, shape: tuple[int, ...], classes: list[str], what: str, length: float
    ) -> NDArray[np.float32]:
        """Random directions of real features' mean length, seeded by class: a class has the same
        features in fit and in bind.
        """
        import numpy as np

        rows = np.empty(shape)
        for row, name in zip(rows, classes, strict=True):
            seed = derive_seed("text-control", self.kind, self.draw, what, name)
            row[...] = np.random.default_rng(seed).standard_normal(row.shape)
        rows *= length / np.linalg.norm(rows, axis=-1, keepdims=True)
        return rows.astype(np.float32)


def _mean_length(rows: NDArray[np.float32]) -> float:
    import numpy as np

    return float(np.linalg.norm(rows.astype(np.float64), axis=-1).mean())


def plan_controls(kind: str | None, draws: int | None, unseen: int) -> list[Control | None]:
    """The draws of a control, or ``[None]`` for a plain run.

    Args:
        kind: one of ``KINDS``; None: no control.
        draws: how many; None: ``DRAWS``, or all shifts.
        unseen: number of candidates, K.

    Raises:
        UserError: for an unknown kind or an invalid number of draws.
    """
    if kind is None:
        if draws is not None:
            raise UserError(
                "--draws is about a text control, and none was named.",
                f"For example: --text-control {SHUFFLED_ALL} --draws {draws}",
            )
        return [None]
    if kind not in KINDS:
        raise unknown("text control", kind, KINDS)
    if kind == SHUFFLED_UNSEEN:
        if draws not in (None, unseen):
            raise UserError(
                f"'{kind}' has exactly {unseen} draws here: one shift for each candidate class.",
                "Leave --draws out.",
            )
        draws = unseen
    draws = DRAWS if draws is None else draws
    if not 1 <= draws <= MAX_DRAWS:
        raise UserError(f"--draws takes 1 to {MAX_DRAWS}, not {draws}.", "For example: --draws 20")
    return [Control(kind, draw) for draw in range(draws)]
