"""The work of a GZSL run beside its ZSL rounds: rehearsals, and exams over all classes.

<run>.part/round-N/rotation-R/rotation.json, rotation.sealed    a finished rehearsal
<run>.part/round-N/gzsl/gzsl.json, gzsl.sealed                  a round's clips over all classes

A clip of a seen class goes the way of all others: through the pipe, shuffled among the unseen
ones, without a label. Training clips, whose margins say how large this fit's scores are, go the
same way in the same exam.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.diary import Diary
from zsar_bench.fitting import Training, fit
from zsar_bench.gzsl_rotations import GATE, rotation_sources
from zsar_bench.paths import locked, make_folder, read_json, write_json
from zsar_bench.run_plan import RunPlan
from zsar_bench.runner import chosen, chosen_point
from zsar_bench.scoring import RESCORED, Exam, Scorer, rescore
from zsar_bench.seals import sealed_content, write_sealed
from zsar_bench.shuffling import content_order

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Event = Callable[[dict[str, Any]], None]
Json = dict[str, Any]

TRAINING_CLIPS = 512  #: whose margins are looked at; more say the same


@dataclass(frozen=True)
class Said:
    """What a fit says about clips of all classes, row by row: unseen, seen, training clips.

    Attributes:
        scores: (n, K) over the seen classes, then the unseen ones, bound together.
        unseen: (n, K_u) over the unseen classes, bound alone; None without a gate.
        logits: (n, K_s) of the encoder; None without a gate.
        tested: rows before the training clips.
    """

    scores: NDArray[np.float32]
    unseen: NDArray[np.float32] | None
    logits: NDArray[np.float32] | None
    tested: int


def rotation_folder(plan: RunPlan, number: int, rotation: int) -> Path:
    """Where a rehearsal lives until the run is complete."""
    return plan.round_folder(number) / f"rotation-{rotation}"


def read_rotations(plan: RunPlan, number: int) -> list[Json]:
    """What the rehearsals of a round found, each its ``rotation.json``."""
    count = len(rotation_sources(plan, number))
    return [read_json(rotation_folder(plan, number, r) / "rotation.json") for r in range(count)]


def read_exam(plan: RunPlan, number: int) -> Json:
    """``gzsl.json`` of a round."""
    about: Json = read_json(plan.round_folder(number) / "gzsl" / "gzsl.json")
    return about


def read_gzsl(plan: RunPlan, number: int) -> list[Json]:
    """What was noted about the rehearsals of a round and its exam; empty without GZSL."""
    return [*read_rotations(plan, number), read_exam(plan, number)] if plan.gzsl else []


def run_rotation(plan: RunPlan, number: int, rotation: int, on_event: Event) -> None:
    """Fit a rehearsal and score its clips; leaves ``rotation.json`` and ``rotation.sealed``."""
    folder = rotation_folder(plan, number, rotation)
    with locked(folder):
        if plan.done or (folder / "rotation.json").is_file():
            return
        rehearsal, source = rotation_sources(plan, number)[rotation]
        one = rehearsal.round
        point, grid = chosen_point(plan, number)
        grids = () if grid == 1 else (grid,)
        training = Training(plan, source, one.name, one.train, folder, grids)
        diary = Diary(one.name, on_event)
        fit(training, lambda e: diary.hear({"stage": "fit", **e}))
        about = _examine(training, training.state(point, grid), folder, "rotation", diary.hear)[1]
        write_json(
            folder / "rotation.json",
            {
                "name": one.name,
                "held_out": list(one.unseen),
                "performers": rehearsal.performers,
                "unseen_of": rehearsal.unseen_of,
                "encoder": source.key,
                "fit_seconds": training.about["seconds"],
                "fit_walls": {k: training.about[k] for k in ("walls", "denied")},
                "events": diary.events,
                **about,
            },
        )


def run_exam(plan: RunPlan, number: int, on_event: Event) -> None:
    """Score a round's seen and unseen test clips over all classes; leaves ``gzsl.json`` and
    ``gzsl.sealed``."""
    folder = make_folder(plan.round_folder(number) / "gzsl")
    with locked(folder):
        if plan.done or (folder / "gzsl.json").is_file():
            return
        diary = Diary(f"{plan.encoders[number].round.name} gzsl", on_event)
        training, point, grid = chosen(plan, number, diary)
        state = training.state(point, grid)
        (exam, scores), about = _examine(training, state, folder, "gzsl", diary.hear)
        count = -(-RESCORED // len(plan.encoders))
        change, again, seen = rescore(exam, state, scores, count, diary.hear)
        about |= {"rescored": again, "largest_change": change, "rescore_walls": seen}
        write_json(folder / "gzsl.json", {**about, "events": diary.events})


def read_said(plan: RunPlan, number: int, rotation: int | None = None) -> Said:
    """What was said in a rehearsal, or (None) in a round's exam."""
    from safetensors.numpy import load

    part = "gzsl" if rotation is None else "rotation"
    folder = plan.round_folder(number)
    folder = folder / part if rotation is None else rotation_folder(plan, number, rotation)
    found = load(sealed_content(folder / f"{part}.sealed", _owner(plan, folder)))
    tested = int(found["tested"][0])
    return Said(found["scores"], found.get("unseen"), found.get("logits"), tested)


def _examine(
    training: Training, state: Path, folder: Path, part: str, on_event: Event
) -> tuple[tuple[Exam, NDArray[np.float32]], Json]:
    """Ask a state about the test clips of its round and some training clips; all is stored.

    Returns:
        The exam over all classes with its scores, and what is noted about it.
    """
    import numpy as np
    from safetensors.numpy import save

    started = time.monotonic()
    plan, source = training.plan, training.source
    one = source.round
    tested = [*one.test_unseen, *one.test_seen]
    asked = [*tested, *_some(training)]
    exam = _exam(training, asked, (*one.seen, *one.unseen), "all classes", folder)
    walls = {}
    with Scorer(exam, [state], on_event, "score-all") as scorer:
        scores = scorer.all()
    walls["score_walls"] = scorer.seen
    found: dict[str, NDArray[Any]] = {"scores": scores}
    found["tested"] = np.array([len(tested)], dtype=np.int64)
    scored = [exam.digest()]
    if plan.gzsl == GATE:
        beside = make_folder(folder / "unseen")
        alone = _exam(training, asked, one.unseen, "unseen classes", beside)
        with Scorer(alone, [state], on_event, "score-unseen") as scorer:
            found["unseen"] = scorer.all()
        walls["unseen_walls"] = scorer.seen
        found["logits"] = source.read(asked, ("logits",))["logits"]
        scored.append(alone.digest())
    write_sealed(folder / f"{part}.sealed", save(found), _owner(plan, folder))
    return (exam, scores), {
        "training_clips": len(asked) - len(tested),
        "scored": scored,
        "seconds": round(time.monotonic() - started, 3),
        **walls,
    }


def _exam(
    training: Training, asked: list[int], classes: tuple[str, ...], over: str, folder: Path
) -> Exam:
    one = training.source.round
    return Exam(
        training.plan, training.source, asked, one, classes, f"{one.name} over {over}", folder,
        training.owner, "gzsl",
    )  # fmt: skip


def _some(training: Training) -> list[int]:
    """Some training clips of a fit, drawn by their content."""
    contents = training.source.dataset.contents(training.clips)
    order = content_order(contents, "gzsl", training.name)[:TRAINING_CLIPS]
    return [training.clips[n] for n in order.tolist()]


def _owner(plan: RunPlan, folder: Path) -> str:
    """What sealed scores belong to."""
    return f"{plan.run_id} {folder.parent.name} {folder.name}"
