"""How should a GZSL constant be carried from pseudo-unseen splits to the real fit? A simulation.

Classes have texts in clusters; a clip is a fixed map of its class's text, plus something that the
text does not say, its subject, and noise. Simple methods are fitted as a GZSL run does it, with
scores whose scale varies by 30 % between fits. Printed, for each design: by how many points
mean class H on new subjects falls short of that of the best constant, for each way of carrying it
over.

    python benchmarks/gzsl_standing.py [DRAWS [DIFFER [validation]]]

DRAWS: worlds a design; 8 take a minute. DIFFER: how much subjects differ, 1 unless said.
``validation``: pseudo-unseen clips are those of held-out subjects only, however few.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsar_bench.metrics.gzsl import balances, best_constant, credit, curve, margins, sides, weights

Array = NDArray[np.float64]

DESIGNS = {  # seen, unseen, subjects, clips of each, noise
    "22/5": (22, 5, 8, 4, 0.8),
    "40/10": (40, 10, 10, 3, 0.8),
    "48/12": (48, 12, 20, 2, 1.0),
}
METHODS = {  # features, ridge, scores
    "dot": ("linear", 1e2, "dot"),
    "cosine": ("linear", 1e2, "cosine"),
    "distance": ("linear", 1.0, "distance"),
    "bilinear": ("bilinear", 1e2, "dot"),
    "overfitted": ("random", 1e-3, "dot"),
    "random features, cosine": ("random", 10.0, "cosine"),
    "overfitted softmax": ("random", 1e-3, "softmax"),
    "log softmax": ("random", 1.0, "log softmax"),
    "softmax": ("linear", 1e2, "softmax"),
    "weak": ("linear", 1e5, "dot"),
    "weak cosine": ("linear", 1e5, "cosine"),
}


def _iqr(t: Array) -> float:
    return float(np.subtract(*np.percentile(t, [75, 25])))


def _rms(t: Array) -> float:
    return float(np.sqrt(np.mean(t**2)))


#: From a constant and training margins to a standing, and back.
WAYS: dict[str, tuple[Callable[[float, Array], float], Callable[[float, Array], float]]] = {
    "no constant": (lambda g, t: 0.0, lambda z, t: 0.0),
    "as it is": (lambda g, t: g, lambda z, t: z),
    "median and IQR": (
        lambda g, t: (g - float(np.median(t))) / _iqr(t),
        lambda z, t: float(np.median(t)) + z * _iqr(t),
    ),
    "quantile": (lambda g, t: float(np.mean(t < g)), lambda z, t: float(np.quantile(t, z))),
    "median": (lambda g, t: g / float(np.median(t)), lambda z, t: z * float(np.median(t))),
    "rms": (lambda g, t: g / _rms(t), lambda z, t: z * _rms(t)),
}


@dataclass(frozen=True)
class World:
    """Clips (N, C), their classes and subjects (N,), and texts (classes, D)."""

    clips: Array
    labels: NDArray[np.int64]
    subjects: NDArray[np.int64]
    texts: Array


def make(
    rng: np.random.Generator, classes: int, people: int, each: int, noise: float, differ: float
) -> World:
    text, wide = 24, 48
    texts = rng.normal(size=(8, text))[rng.integers(0, 8, classes)]
    texts = texts + 0.8 * rng.normal(size=(classes, text))
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    centre = np.tanh(texts @ rng.normal(size=(text, wide)))
    centre += 0.35 * rng.normal(size=(classes, wide))
    habit = 0.4 * rng.normal(size=(people, 1, wide))
    habit = differ * (habit + 0.3 * rng.normal(size=(people, classes, wide)))
    labels = np.repeat(np.arange(classes), people * each)
    subjects = np.tile(np.repeat(np.arange(people), each), classes)
    clips = centre[labels] + habit[subjects, labels]
    return World(clips + noise * rng.normal(size=clips.shape), labels, subjects, texts)


def scores(
    method: tuple[str, float, str], train: Array, labels: Array, texts: Array, asked: Array
) -> Array:
    """(n, K) of a method fitted on some clips; labels are rows of ``texts`` (K, D)."""
    kind, ridge, says = method
    mean, spread = train.mean(0), train.std(0) + 1e-6
    x, q = (train - mean) / spread, (asked - mean) / spread
    if kind == "random":
        lift = np.random.default_rng(0).normal(size=(x.shape[1], 1500)) / np.sqrt(x.shape[1])
        x, q = np.maximum(x @ lift, 0), np.maximum(q @ lift, 0)
    if kind == "bilinear":
        seen = np.unique(labels)
        target = np.where(labels[:, None] == seen, 1.0, -1.0) @ texts[seen]
        middle = texts[seen].T @ texts[seen] + ridge * np.eye(texts.shape[1])
        w = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ target)
        w = w @ np.linalg.inv(middle)
    elif x.shape[1] > len(x):
        w = x.T @ np.linalg.solve(x @ x.T + ridge * np.eye(len(x)), texts[labels])
    else:
        w = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ texts[labels])
    guess = q @ w
    found: Array = guess @ texts.T
    if says == "cosine":
        found = found / np.linalg.norm(guess, axis=1, keepdims=True)
    elif says == "distance":
        found = -np.square(guess[:, None] - texts[None]).sum(-1)
    elif "softmax" in says:
        found = found / found.std() * 6
        found = found - found.max(1, keepdims=True)
        found = found - np.log(np.exp(found).sum(1, keepdims=True))
        found = np.exp(found) if says == "softmax" else found
    return found


def shortfalls(
    seed: int, design: tuple[int, int, int, int, float], differ: float, only: bool
) -> Array:
    """(methods, ways) points of mean class H below the best constant's."""
    rng = np.random.default_rng(seed)
    seen, unseen, people, each, noise = design
    world = make(rng, seen + unseen, people, each, noise, differ)
    order = rng.permutation(seen + unseen)
    known, new = order[:seen], order[seen:]
    learning = world.subjects < people // 2
    checked = world.subjects < max(1, round(0.2 * (people // 2)))
    held = min(unseen, seen // 4)
    rows = []
    for method in METHODS.values():
        draw = np.random.default_rng(seed + 1)

        def ask(train: Array, test: Array, kept: Array, out: Array, draw=draw, method=method):
            classes = np.concatenate([kept, out])
            place = np.full(len(world.texts), -1)
            place[classes] = np.arange(len(classes))
            some = draw.permutation(np.flatnonzero(train))[:512]
            asked = np.concatenate([np.flatnonzero(test), some])
            found = np.exp(0.3 * draw.normal()) * scores(
                method,
                world.clips[train],
                place[world.labels[train]],
                world.texts[classes],
                world.clips[asked],
            )
            mask, count = np.arange(len(classes)) < len(kept), np.count_nonzero(test)
            split = sides(found[:count], place[world.labels[test]], mask)
            best = best_constant(curve(split, weights(split.labels, split.seen)["mean_class"]))
            return split, best, margins(found[count:], mask)

        normalized: dict[str, list[float]] = {way: [] for way in WAYS}
        for turn in range(3):
            out = known[turn * held : (turn + 1) * held]
            kept = np.setdiff1d(known, out)
            of_kept, of_out = np.isin(world.labels, kept), np.isin(world.labels, out)
            train = learning & ~checked & of_kept
            test = (checked if only else learning) & of_out | checked & of_kept
            _, (_, constant), own = ask(train, test, kept, out)
            for way, (leave, _) in WAYS.items():
                normalized[way].append(leave(constant, own))
        split, (top, _), own = ask(learning & np.isin(world.labels, known), ~learning, known, new)
        reached = []
        for way, (_, enter) in WAYS.items():
            given = credit(split, enter(float(np.median(normalized[way])), own))
            reached.append(balances(split.labels, split.seen, given)["mean_class"].harmonic)
        rows.append(100 * (top - np.array(reached)))
    return np.array(rows)


def main() -> None:
    draws, differ, whose = [*sys.argv[1:], *["8", "1", "all"][len(sys.argv) - 1 :]]
    print(f"| seen/unseen | {' | '.join(WAYS)} |")
    print(f"| --- |{' --- |' * len(WAYS)}")
    for name, design in DESIGNS.items():
        found = [
            shortfalls(seed, design, float(differ), whose == "validation")
            for seed in range(int(draws))
        ]
        mean = np.mean(found, axis=(0, 1))
        print(f"| {name} | {' | '.join(f'{v:.1f}' for v in mean)} |", flush=True)


if __name__ == "__main__":
    main()
