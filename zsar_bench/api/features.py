"""Skeleton features: what is kept, and exports that other people's code can read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zsar_bench.common import checksums
from zsar_bench.common.files import home, read_json
from zsar_bench.errors import UserError
from zsar_bench.features.encoders import EncoderPlan
from zsar_bench.features.encoding import ensure
from zsar_bench.features.released.store import features_folder

OnEncoder = Callable[[EncoderPlan, dict[str, Any]], None]


@dataclass(frozen=True)
class KeptFeatures:
    """Features in the store: of an encoder trained here, or released by others.

    Attributes:
        clips, classes: that the encoder learned from; of released ones, the training part's.
        parts: part -> clips, of released ones.
        seen_accuracy: of the encoder's own classifier on its training clips.
        seconds: that training and encoding took.
    """

    kind: Literal["certified", "released"]
    key: str
    name: str
    dataset: str | None
    round: str | None
    seed: int | None
    clips: int
    classes: int
    seconds: float | None
    megabytes: float
    seen_accuracy: float | None = None
    parts: dict[str, int] | None = None


def list_features(
    on_damage: Callable[[str], None] = lambda text: None,
) -> list[KeptFeatures]:
    """The trained encoders and the released features that the store keeps.

    Args:
        on_damage: gets a sentence about features that are damaged; they are left out.
    """
    rows = []
    for path in sorted((home() / "encoders").glob("[!.]*/encoder.json")):
        about = _about(path, on_damage)
        if about is not None:
            rows.append(
                KeptFeatures(
                    kind="certified",
                    key=path.parent.name,
                    name=about["encoder"],
                    dataset=about.get("dataset"),
                    round=about["round"],
                    seed=about["seed"],
                    clips=about["train_clips"],
                    classes=len(about["train_classes"]),
                    seconds=about["seconds"],
                    megabytes=_megabytes(path.parent),
                    seen_accuracy=about["seen_accuracy"],
                )
            )
    for path in sorted(features_folder().glob("[!.]*/features.json")):
        about = _about(path, on_damage)
        if about is not None:
            rows.append(
                KeptFeatures(
                    kind="released",
                    key=path.parent.name[:16],
                    name=f"released: {about['name']}",
                    dataset=about["dataset"],
                    round=None,
                    seed=None,
                    clips=about["clips"]["train"],
                    classes=about["classes"]["train"],
                    seconds=None,
                    megabytes=_megabytes(path.parent),
                    parts=about["clips"],
                )
            )
    return rows


def _about(path: Path, on_damage: Callable[[str], None]) -> dict[str, Any] | None:
    """What is written of kept features; None if that is damaged."""
    try:
        checksums.check(path.parent, [path.name])
        about: dict[str, Any] = read_json(path)
    except UserError as error:
        on_damage(f"{error.what} The next run that needs these features makes them again.")
        return None
    return about


def _megabytes(folder: Path) -> float:
    return round(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6, 1)


def train(plans: Sequence[EncoderPlan], on_event: OnEncoder) -> None:
    """Train the encoders that are not in the cache, one after the other.

    Raises:
        RunFailed: if an encoder fails.
    """
    for plan in plans:
        ensure(plan, (), lambda event, plan=plan: on_event(plan, event))  # type: ignore[misc]
