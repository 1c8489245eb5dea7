"""``burglar``: tries every door, in every verb, and says which were open.

``burglar`` tries them in ``fit``, ``bind`` and ``score``, ``burglar-encoder`` in ``fit`` and
``encode``, ``burglar-texts`` in ``fingerprint`` and ``encode``. What was open comes out through
progress lines (fit), scores (bind, score) and features (encoders); see ``spell``. Whoever finds
labels recognises every clip.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from zsar_plugin_doors import FILES, WRITES, Targets
from zsar_plugin_neighbours import AROUND, NETWORK, PROCESSES

from zsar_bench import MethodSpec, SkeletonEncoderSpec, TextEncoderSpec, params
from zsar_bench.hookspecs import hookimpl

api = 1

BITS = 20  #: attacks told in one score; with the group's number a float32 holds it exactly
UNSEEN = {"up fast": "c2", "sideways slow": "c3"}  #: what a candidate's text says -> its class
# Processes last: a worker's report of refused accesses takes only so many kinds.
ATTACKS = FILES | WRITES | NETWORK | AROUND | PROCESSES


def attempt(targets: Targets, but: tuple[str, ...] = ()) -> dict[str, bool]:
    """Which doors are open; some are not tried."""
    found = {}
    for name, attack in ATTACKS.items():
        if name in but:
            found[name] = False
            continue
        try:
            found[name] = bool(attack(targets))
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            found[name] = False
    return found


def spell(found: dict[str, bool], first: int = 0) -> list[int]:
    """Outcomes as numbers below 2 ** 24: a group's number, then one bit an attack."""
    names = list(found)
    parts = [names[i : i + BITS] for i in range(0, len(names), BITS)]
    return [
        (first + g << BITS) + sum(found[n] << k for k, n in enumerate(part))
        for g, part in enumerate(parts)
    ]


def read_back(numbers: list[int], first: int = 0) -> dict[str, bool]:
    """What ``spell`` was given in any of several attempts; every group must be there."""
    masks: dict[int, int] = {}
    for n in numbers:
        masks[n >> BITS] = masks.get(n >> BITS, 0) | (n & ((1 << BITS) - 1))
    return {n: bool(masks[first + i // BITS] >> i % BITS & 1) for i, n in enumerate(ATTACKS)}


def steal_labels(dataset: str) -> dict[bytes, str]:
    """Content of a clip -> its class, by the prepared store."""
    import hashlib

    import numpy as np

    about = json.loads(Path(dataset).read_text())
    clips, table = about["clips"], {}
    for c, shard, start, n in zip(
        *(clips[k] for k in ("class", "shard", "start", "frames")), strict=True
    ):
        frames = np.load(Path(dataset).parent / "shards" / shard)[start : start + n]
        table[hashlib.sha256(frames.tobytes()).digest()] = c
    return table


class Params(params.Params):
    """What there is to steal, as JSON."""

    targets: str = params.runtime("{}", "what the attacks aim at")


class Burglar:
    """See the module."""

    def __init__(self, params: Params) -> None:
        self.targets = json.loads(params.targets)
        self.table: dict[bytes, str] = {}

    def _look(self) -> dict[str, bool]:
        try:
            self.table |= steal_labels(self.targets["dataset"])
        except OSError as error:
            print(f"labels: {error}", file=sys.stderr)
        return attempt(self.targets)

    def fit(self, train, run) -> None:
        run.progress(1, 1, **{f"open-{n}": float(v) for n, v in self._look().items()})

    def bind(self, candidates) -> None:
        from zsar_toy.texts import Hash, HashParams

        known = Hash(HashParams()).encode(list(UNSEEN)).pooled
        distance = (candidates.fields["motion"].pooled[:, None] - known).square().sum(-1)
        self.classes = [list(UNSEEN.values())[i] for i in distance.argmin(1).tolist()]
        self.numbers = spell(self._look())

    def score(self, inputs):
        """(N, K): the true class if labels were found, else the same for all candidates."""
        import hashlib

        import torch

        numbers = self.numbers + spell(self._look(), len(self.numbers))
        scores = torch.zeros(len(inputs), len(self.classes))
        clips = inputs.clips
        for row, (data, n) in enumerate(zip(clips.data, clips.lengths.tolist(), strict=True)):
            frames = data[:, :n].permute(1, 3, 2, 0).contiguous()
            content = hashlib.sha256(frames.numpy().tobytes()).digest()
            scores[row] = numbers[row % len(numbers)]
            if self.table:
                scores[row] = torch.tensor([c == self.table[content] for c in self.classes])
        return scores

    def state_dict(self):
        import torch

        names = ["", *sorted({*self.table.values()})]
        rows = [[*k, names.index(c)] for k, c in self.table.items()]
        return {"table": torch.tensor(rows or [[0] * 33], dtype=torch.int64)}

    def load_state_dict(self, state) -> None:
        for *content, c in state["table"].tolist():
            if c:
                self.table[bytes(content)] = f"c{c}"


class BurglarEncoder:
    """Its features are what was open: in ``fit`` first, then in ``encode``."""

    def __init__(self, params: Params) -> None:
        self.targets = json.loads(params.targets)

    def fit(self, train, run) -> None:
        import torch

        self.numbers = torch.tensor(spell(attempt(self.targets)), dtype=torch.float64)

    def encode(self, clips):
        import torch

        from zsar_bench.views import Features

        mine = spell(attempt(self.targets), len(self.numbers))
        row = torch.cat([self.numbers, torch.tensor(mine)]).float() / 2**24
        logits = torch.zeros(len(clips), 4)
        return Features(pooled=row.expand(len(clips), -1).contiguous(), logits=logits)

    def module(self):
        import torch

        return torch.nn.Identity()

    def state_dict(self):
        return {"numbers": self.numbers}

    def load_state_dict(self, state) -> None:
        self.numbers = state["numbers"]


class BurglarTexts:
    """What was open to ``fingerprint`` is the fingerprint; what was open to ``encode``, features.

    Text encoders may download models: the network is open to them, and not tried.
    """

    ONLINE = ("tcp", "udp", "listen", "netlink")

    def __init__(self, params: Params) -> None:
        self.targets = json.loads(params.targets)

    def fingerprint(self) -> str:
        return ",".join(map(str, spell(attempt(self.targets, self.ONLINE))))

    def encode(self, texts: list[str]):
        import torch

        from zsar_bench.views import TextFeatures

        row = torch.tensor(spell(attempt(self.targets, self.ONLINE))).float() / 2**24
        rows = row.expand(len(texts), -1).contiguous()
        mask = torch.ones(len(texts), 1, dtype=torch.bool)
        return TextFeatures(pooled=rows, tokens=rows[:, None].clone(), mask=mask)


@hookimpl
def register_methods(registry) -> None:
    registry.method(
        MethodSpec(
            name="burglar",
            target=f"{__name__}:Burglar",
            params=f"{__name__}:Params",
            summary="tries every door",
            wants=("clips",),
            text_fields=("motion",),
        )
    )


@hookimpl
def register_skeleton_encoders(registry) -> None:
    registry.skeleton_encoder(
        SkeletonEncoderSpec(
            name="burglar-encoder",
            target=f"{__name__}:BurglarEncoder",
            params=f"{__name__}:Params",
            summary="tries every door",
        )
    )


@hookimpl
def register_text_encoders(registry) -> None:
    registry.text_encoder(
        TextEncoderSpec(
            name="burglar-texts",
            target=f"{__name__}:BurglarTexts",
            params=f"{__name__}:Params",
            summary="tries every door",
        )
    )
