"""How fast the stand-in is made and how hard it is: nearest neighbour and supervised accuracy.

Nothing zero-shot is computed here. All figures are cross-subject: trained on the training
subjects of the standard evaluation, tested on the others.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from zsar_datasets import DATA, ntu_lists
from zsar_datasets.stand_in.generator import (
    Generator,
    Generator60,
    Generator120,
    GeneratorPKU,
    Params,
)
from zsar_encoders import st_gcn

from zsar_bench.common.classes import read_toml
from zsar_bench.contracts import ClipName
from zsar_bench.sandbox.wire import layout_from_json
from zsar_bench.views import Clips, EncoderTrain, TextBank

SETS: dict[str, type[Generator]] = {
    "ntu-60": Generator60,
    "ntu-120": Generator120,
    "pku-mmd": GeneratorPKU,
}
NEAREST_FRAMES = 32


@dataclass(frozen=True, eq=False)
class Data:
    """A data set's clips, their classes counted from 0, and which of them train."""

    names: list[ClipName]
    clips: list[NDArray[np.float32]]
    labels: NDArray[np.int64]
    train: NDArray[np.bool_]


def trains(name: ClipName) -> bool:
    """Cross-subject: NTU's subjects; PKU-MMD's 57 first subjects."""
    sample = ntu_lists.parse(name.id)
    return int(name.subject) <= 57 if sample is None else ntu_lists.xsub(sample)


def data(which: str, alignment: float = 1.0) -> Data:
    """Make a whole data set."""
    generator = SETS[which](Params(alignment=alignment))
    names = generator.clips()
    classes = {c: i for i, c in enumerate(dict.fromkeys(n.class_id for n in names))}
    return Data(
        names,
        generator.make([n.id for n in names]),
        np.array([classes[n.class_id] for n in names]),
        np.array([trains(n) for n in names]),
    )


def digest(clips: Sequence[NDArray[np.float32]]) -> str:
    """SHA-256 over the bytes of all clips, in order."""
    total = hashlib.sha256()
    for clip in clips:
        total.update(np.ascontiguousarray(clip, "<f4").tobytes())
    return total.hexdigest()


def resampled(clip: NDArray[np.float32], frames: int) -> NDArray[np.float64]:
    """(frames, ...) by linear interpolation."""
    at = np.linspace(0.0, len(clip) - 1, frames)
    left = np.minimum(at.astype(int), max(len(clip) - 2, 0))
    right = np.minimum(left + 1, len(clip) - 1)
    part = (at - left).reshape(-1, *[1] * (clip.ndim - 1))
    return clip[left] * (1 - part) + clip[right] * part


def nearest_neighbour(d: Data) -> float:
    """Accuracy of the nearest training clip in raw coordinates.

    32 frames, root of the first body in its first frame at the origin, nothing else.
    """
    rows = []
    for clip in d.clips:
        there = clip.any(axis=(2, 3))[..., None, None]
        moved = np.where(there, clip - clip[0, 0, 0], 0.0)
        rows.append(resampled(moved, NEAREST_FRAMES).ravel())
    x = np.array(rows, np.float32)
    train, test = x[d.train], x[~d.train]
    far = (test**2).sum(1)[:, None] + (train**2).sum(1)[None] - 2 * test @ train.T
    return float((d.labels[d.train][far.argmin(1)] == d.labels[~d.train]).mean())


class Run:
    """The part of ``contracts.FitContext`` that st-gcn and the closed forms use."""

    def __init__(self, seed: int, tell: Callable[[str], None]) -> None:
        torch.manual_seed(seed)
        self.seed, self.device, self.threads = seed, torch.device("cpu"), torch.get_num_threads()
        self.generator = torch.Generator().manual_seed(seed)
        self.texts, self.unseen_texts = TextBank({}), None
        self.encoder: Any = None
        self.workdir, self.resume = Path(tempfile.gettempdir()), None
        self._tell = tell

    def progress(self, step: int, total: int, **scalars: Any) -> None:
        if step % 100 == 0:
            values = ", ".join(f"{k} {float(v):.3f}" for k, v in scalars.items())
            self._tell(f"step {step} of {total}: {values}")

    def checkpoint(self, step: int, tensors: Callable[[], dict[str, torch.Tensor]]) -> None:
        """Nothing to continue from."""


def padded(d: Data, rows: NDArray[np.int64], bodies: int = 2) -> Clips:
    """These clips as an encoder gets them."""
    layout = layout_from_json(read_toml(DATA / "ntu-120" / "layout.toml"))
    chosen = [d.clips[i][:, :bodies] for i in rows]
    lengths = torch.tensor([len(c) for c in chosen])
    out = torch.zeros(len(chosen), 3, int(lengths.max()), 25, bodies)
    for i, clip in enumerate(chosen):
        out[i, :, : len(clip)] = torch.from_numpy(clip).permute(3, 0, 2, 1)
    return Clips(out, lengths, layout)


def supervised(
    d: Data, bodies: int = 2, max_steps: int = 0, tell: Callable[[str], None] = print
) -> tuple[float, NDArray[np.int64]]:
    """Accuracy of ``st-gcn`` in its laptop profile, and the confusions (classes, classes).

    Args:
        d: the clips.
        bodies: how many of two the encoder sees.
        max_steps: where training ends; 0: after all its epochs.
        tell: hears how far it is.
    """
    encoder = st_gcn.STGCN(st_gcn.Params(max_steps=max_steps))
    classes = int(d.labels.max()) + 1
    train, test = np.flatnonzero(d.train), np.flatnonzero(~d.train)
    subjects = torch.tensor([int(d.names[i].subject) for i in train])
    view = EncoderTrain(padded(d, train, bodies), torch.tensor(d.labels[train]), subjects, classes)
    encoder.fit(view, Run(0, tell))
    logits = encoder.encode(padded(d, test, bodies)).logits
    assert logits is not None
    answers = logits.argmax(1).numpy()
    confusions = np.zeros((classes, classes), np.int64)
    np.add.at(confusions, (d.labels[test], answers), 1)
    return float((answers == d.labels[test]).mean()), confusions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", choices=[*SETS, []], help="default: all")
    parser.add_argument("--train", action="store_true", help="st-gcn too: minutes a set")
    parser.add_argument("--bodies", type=int, default=2, choices=(1, 2), help="that st-gcn sees")
    options = parser.parse_args()
    print("| set | clips | ms a clip | nearest neighbour | st-gcn | sha256 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for which in options.sets or SETS:
        started = time.process_time()
        d = data(which)
        speed = 1000 * (time.process_time() - started) / len(d.clips)
        nearest = f"{100 * nearest_neighbour(d):.1f} %"
        accuracy = "-"
        if options.train:
            accuracy = f"{100 * supervised(d, options.bodies, tell=lambda _: None)[0]:.1f} %"
        print(
            f"| {which} | {len(d.clips)} | {speed:.1f} | {nearest} | {accuracy} "
            f"| {digest(d.clips)[:12]} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
