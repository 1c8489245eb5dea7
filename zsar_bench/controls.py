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

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from zsar_bench.errors import UserError, unknown
from zsar_bench.identity import derive_seed
from zsar_bench.paths import write_bytes
from zsar_bench.shuffling import content_order
from zsar_bench.text_features import TextPlan, bank_tensors, read_text_features

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zsar_bench.statistics import Interval

SHUFFLED_UNSEEN = "shuffled-unseen"
SHUFFLED_ALL = "shuffled-all"
RANDOM = "random"
SHUFFLED_SEEN = "shuffled-seen"
KINDS = (SHUFFLED_UNSEEN, SHUFFLED_ALL, RANDOM, SHUFFLED_SEEN)

DRAWS = 20  #: draws unless more are asked for; fewer give no verdict
MAX_DRAWS = 1000
HALF_WIDTH = 0.05  #: an interval must be narrower than this on each side to pass
TOLERANCE = 0.005  #: of the mean over all shifts: rounding near ties; too little to rank by
ROUNDING = 1e-12  #: what summing leaves


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


@dataclass(frozen=True)
class Finding:
    """What a control shows about a method, and why, in one sentence."""

    verdict: Literal["passes", "FAILS", "inconclusive", "diagnostic"]
    reason: str


def judge_draws(kind: str, draws: int, interval: Interval | None, chance: float) -> Finding:
    """Judge ``shuffled-all``, ``random`` or the diagnostic ``shuffled-seen``.

    Args:
        kind: which control.
        draws: how many there are.
        interval: of macro accuracy, over draws; None for a single one.
        chance: 1/K.
    """
    if kind == SHUFFLED_SEEN:
        return Finding("diagnostic", "unseen texts are true, so 1/K is no claim")
    if draws < DRAWS or interval is None:
        return Finding("inconclusive", f"{draws} of the {DRAWS} draws that a verdict needs")
    if interval.low > chance + ROUNDING:
        return Finding("FAILS", "above 1/K without a text that helps: a leak")
    half = (interval.high - interval.low) / 2
    if half >= HALF_WIDTH:
        more = math.ceil(draws * (half / HALF_WIDTH) ** 2) + 1
        return Finding(
            "inconclusive",
            f"the interval reaches {100 * half:.1f} points to each side; "
            f"about {more} draws would bring it below {100 * HALF_WIDTH:g}",
        )
    if interval.high < chance - ROUNDING:
        return Finding("inconclusive", "below 1/K, which no leak explains; draw more")
    return Finding("passes", "the interval holds 1/K")


def judge_shifts(complete: bool, mean: float, interval: Interval | None, chance: float) -> Finding:
    """Judge ``shuffled-unseen``, whose mean over all K shifts is exact and needs no interval.

    A mean beyond ``TOLERANCE`` says that candidates are not treated alike. That can be a leak
    (a class is recognised at its place whatever its text), or scores that depend on the order
    in which candidates are bound (noise drawn by place, sums in another order). A leak lifts
    clips of every performer above 1/K; order alone moves them up and down.

    Args:
        complete: whether every seed has all K shifts.
        mean: macro accuracy over all shifts and seeds.
        interval: of the same over performers; None with too few of them.
        chance: 1/K.
    """
    if not complete:
        return Finding("inconclusive", "not all K shifts are there")
    off = mean - chance
    if abs(off) <= ROUNDING:
        return Finding("passes", "exactly 1/K over all K shifts")
    if abs(off) <= TOLERANCE:
        return Finding("passes", f"{100 * off:+.2f} points off 1/K: ties or rounding")
    said = f"{100 * off:+.1f} points off 1/K over all K shifts"
    if off > 0 and interval is None:
        return Finding("FAILS", f"{said}: a leak, or scores that depend on candidates' order")
    if interval is not None and interval.low > chance:
        return Finding("FAILS", f"{said}, for new performers too: a leak")
    return Finding(
        "inconclusive", f"{said}: scores depend on candidates' order; no leak is shown by it"
    )
