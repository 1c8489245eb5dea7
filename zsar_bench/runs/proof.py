"""Proofs on demand: a refit with scrambled unseen clips, and a scoring of slightly moved inputs.

A fit that reads anything but its bundle ends in another state when all else is scrambled. The
scrambled copy lies in another folder, so that paths derived from the bundle's lead to it; fixed
paths to the real store are refused by confinement. Answers stored by a clip's content change with
a little noise on the clip; a continuous score hardly does.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.common.events import Event
from zsar_bench.common.files import home, make_folder, read_json, write_bytes, write_json
from zsar_bench.common.hashing import secret_draw
from zsar_bench.runs.fit import Training, fit_job
from zsar_bench.runs.score import EvaluationSet, Scorer
from zsar_bench.sandbox.checkpoint_stream import receive_fit
from zsar_bench.sandbox.client import Worker

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zsar_bench.records.parts import Proof


JITTER = 1e-3  #: noise on inputs, as a share of their spread
STABLE = 0.1  #: share of their spread by which scores may then change
PROVED = 64  #: clips of a round that are scored with noise


def prove_round(
    training: Training,
    evaluation: EvaluationSet,
    state: Path,
    scores: NDArray[np.float32],
    on_event: Event,
) -> dict[str, Any]:
    """Refit and score again.

    Args:
        training: the fit whose state was scored.
        evaluation: what was scored.
        state: file of that state.
        scores: (n, K) its scores.
        on_event: gets progress events.

    Returns:
        ``refit_identical`` and ``largest_change``.
    """
    import numpy as np

    folder = evaluation.folder / "proof"
    shutil.rmtree(folder, ignore_errors=True)
    refit = _refit(training, make_folder(folder), on_event)
    rows = secret_draw(len(evaluation.clips), PROVED)
    with Scorer(evaluation, [state], on_event, "moved") as scorer:
        moved = scorer.rows(rows, JITTER)
    shutil.rmtree(folder, ignore_errors=True)
    return {
        "refit_identical": refit == training.about["state"],
        "largest_change": float(np.abs(moved - scores[rows]).max()),
    }


def judge(rounds: Iterable[dict[str, Any]], scores: NDArray[np.float32]) -> Proof:
    """The proof of a run from those of its rounds and its score matrix (N, K)."""
    import numpy as np

    from zsar_bench.records.parts import Proof

    rounds = list(rounds)
    change = max(note["largest_change"] for note in rounds)
    allowed = STABLE * float(np.nanstd(scores))
    return Proof(
        refit_identical=all(note["refit_identical"] for note in rounds),
        jitter=JITTER,
        largest_change=change,
        tolerance=allowed,
        stable=change <= allowed,
    )


def _refit(training: Training, folder: Path, on_event: Event) -> str:
    """SHA-256 of the final state of the same fit in a scrambled store."""
    job = fit_job(training, folder / "job") | {"grids": ()}
    shown = {Path(p) for p in job["reads"]}
    tops = {_top(path) for path in shown} - {None}
    for top in tops:
        assert top is not None
        _scrambled_copy(top, folder / top.relative_to(home()), shown)
    old, new = f"{home()}/", f"{folder}/"
    moved = json.loads(json.dumps(job, default=str).replace(json.dumps(old)[1:-1], new))
    moved |= {"protected": job["protected"], "workdir": job["workdir"]}
    with Worker(moved, Path(job["workdir"]), on_event) as worker:
        _, state = receive_fit(worker, make_folder(folder / "fit"), "")
    return hashlib.sha256(state).hexdigest()


def _top(path: Path) -> Path | None:
    """The folder of the store that a file belongs to: a data set's, an encoder's."""
    if not path.is_relative_to(home()):
        return None
    return home().joinpath(*path.relative_to(home()).parts[:2])


def _scrambled_copy(top: Path, copy: Path, shown: set[Path]) -> None:
    """Copy a folder of the store; files that a fit does not get are scrambled."""
    for path in sorted(p for p in top.rglob("*") if p.is_file()):
        to = copy / path.relative_to(top)
        make_folder(to.parent)
        if path in shown:
            shutil.copyfile(path, to)
        elif path.suffix == ".safetensors":
            _scramble_tensors(path, to)
        elif path.suffix == ".npy":
            _scramble_array(path, to)
        elif path.name == "dataset.json":
            write_json(to, _scrambled_table(read_json(path), {p.name for p in shown}))


def _scramble_tensors(path: Path, to: Path) -> None:
    import numpy as np
    from safetensors.numpy import load_file, save

    noise = np.random.default_rng(0)
    tensors = load_file(path)
    for name, array in tensors.items():
        if array.dtype.kind == "f":
            tensors[name] = noise.standard_normal(array.shape).astype(array.dtype)
    write_bytes(to, save(tensors))


def _scramble_array(path: Path, to: Path) -> None:
    import numpy as np

    like = np.load(path, mmap_mode="r", allow_pickle=False)
    noise = np.random.default_rng(0).standard_normal(like.shape, dtype=np.float32)
    np.save(to, noise.astype(like.dtype), allow_pickle=False)


def _scrambled_table(table: dict[str, Any], shown: set[str]) -> dict[str, Any]:
    """A data set's table with permuted ids, classes and subjects of clips that are not shown."""
    import numpy as np

    clips = table["clips"]
    rows = [n for n, shard in enumerate(clips["shard"]) if shard not in shown]
    order = np.random.default_rng(0).permutation(rows).tolist()
    for column in ("id", "class", "subject", "camera", "setup"):
        values = list(clips[column])
        for to, source in zip(rows, order, strict=True):
            clips[column][to] = values[source]
    return table
