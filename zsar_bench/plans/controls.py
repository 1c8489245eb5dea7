"""Text controls: the same run with texts that cannot help, to see what else helps.

A method that recognises a class by its text alone must fall to 1/K when the text says nothing
about the class. What stays above 1/K came by another way: from the order of clips or
candidates, from a label somewhere in the features, from the true class's text used as a query.

- ``shuffled-unseen``: candidate k gets the text of candidate k + s, modulo K, for all K shifts
  s; fit is that of the plain run, and shift 0 is the plain run. Every clip meets its own text
  at its own class exactly once, so the scores of a method that treats candidates alike
  (equivariant: permuted texts give permuted scores) average to exactly 1/K, clip by clip.
- ``shuffled-all``: a random permutation of the texts of all classes, then fit and score.
- ``random``: every class gets features of no text at all, then fit and score.
- ``shuffled-seen``: a random permutation among the seen classes only. Unseen texts stay true,
  so nothing says that the mean is 1/K: it shows how much of an accuracy needs a true fit.

A draw is one shift, permutation or set of features. For ``shuffled-all`` and ``random`` the
candidates' texts are exchangeable among the candidates, which is what makes 1/K the expectation
of every draw; permutations are therefore uniform, fixed points and identity included.
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

DRAWS = 20  #: draws unless more are asked for; fewer give no verdict
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

        For ``random`` only the number of its tokens is used: a text's length may tell its
        class, too, and is dealt out among all classes.
        """
        own = {c: c for c in (*seen, *unseen)}
        if self.kind == SHUFFLED_UNSEEN:
            count = len(unseen)
            return own | {c: unseen[(k + self.draw) % count] for k, c in enumerate(unseen)}
        moved = list(seen) if self.kind == SHUFFLED_SEEN else [*seen, *unseen]
        salt = ("text-control", self.kind, self.draw)
        order = content_order((c.encode() for c in moved), *salt)
        return own | {c: moved[i] for c, i in zip(moved, order.tolist(), strict=True)}

    def write_bank(
        self,
        plan: TextPlan,
        fields: dict[str, dict[str, str]],
        classes: list[str],
        path: Path,
    ) -> None:
        """Write the text bank that these classes get under the control.

        Args:
            plan: encoded texts.
            fields: field -> class id -> text that the class gets.
            classes: the bank's rows.
            path: file to write.
        """
        from safetensors.numpy import save

        tensors = bank_tensors(plan, {f: [own[c] for c in classes] for f, own in fields.items()})
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
        """Random directions, of real features' mean length: it is the direction that speaks.

        Seeded class by class, so that a class has the same features in fit and in bind.
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
        UserError: for an unknown kind and for a number of draws that cannot be.
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


# --- Verdicts --------------------------------------------------------------------------------
