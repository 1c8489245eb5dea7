"""Skeleton features: those in the store, and exports for other code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zsar_bench.api.listing import Plugins
from zsar_bench.api.requests import data_of, make_request, warn_of_synthetic
from zsar_bench.catalogue.catalogue import Catalogue, load
from zsar_bench.catalogue.settings import check_together
from zsar_bench.common import checksums
from zsar_bench.common.events import Event, ignore_event
from zsar_bench.common.files import home, read_json
from zsar_bench.data.clips.importer import open_or_make
from zsar_bench.data.protocols.protocol import Protocol
from zsar_bench.errors import UserError
from zsar_bench.features.encoders import EncoderPlan
from zsar_bench.features.encoding import ensure
from zsar_bench.features.export import check_target
from zsar_bench.features.export import export as write_export
from zsar_bench.features.released.store import features_folder
from zsar_bench.plans.plan import plan_encoders
from zsar_bench.plans.request import Request
from zsar_bench.plans.wanted import look_up_encoder

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
        content = _about(path, on_damage)
        if content is not None:
            rows.append(
                KeptFeatures(
                    kind="certified",
                    key=path.parent.name,
                    name=content["encoder"],
                    dataset=content.get("dataset"),
                    round=content["round"],
                    seed=content["seed"],
                    clips=content["train_clips"],
                    classes=len(content["train_classes"]),
                    seconds=content["seconds"],
                    megabytes=_megabytes(path.parent),
                    seen_accuracy=content["seen_accuracy"],
                )
            )
    for path in sorted(features_folder().glob("[!.]*/features.json")):
        content = _about(path, on_damage)
        if content is not None:
            rows.append(
                KeptFeatures(
                    kind="released",
                    key=path.parent.name[:16],
                    name=f"released: {content['name']}",
                    dataset=content["dataset"],
                    round=None,
                    seed=None,
                    clips=content["clips"]["train"],
                    classes=content["classes"]["train"],
                    seconds=None,
                    megabytes=_megabytes(path.parent),
                    parts=content["clips"],
                )
            )
    return rows


def _about(path: Path, on_damage: Callable[[str], None]) -> dict[str, Any] | None:
    """The JSON file of stored features; None if it is damaged."""
    try:
        checksums.check(path.parent, [path.name])
        content: dict[str, Any] = read_json(path)
    except UserError as error:
        on_damage(f"{error.what} The next run that needs these features makes them again.")
        return None
    return content


def _megabytes(folder: Path) -> float:
    return round(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6, 1)


def train(plans: Sequence[EncoderPlan], on_event: OnEncoder) -> None:
    """Train the encoders that are not in the cache, one after the other.

    Raises:
        RunFailed: if an encoder fails.
    """
    for plan in plans:
        ensure(plan, (), lambda event, plan=plan: on_event(plan, event))  # type: ignore[misc]


@dataclass(frozen=True)
class PlannedExport:
    """The encoders of a protocol's rounds, and what was chosen.

    Attributes:
        protocol: of the encoders.
        encoders: one a round.
        choices: what, value, reason.
    """

    protocol: Protocol
    encoders: tuple[EncoderPlan, ...]
    choices: tuple[tuple[str, str, str], ...]

    @property
    def seconds(self) -> float:
        """Seconds that training declares for what is not in the cache."""
        return sum(plan.cost[2] for plan in self.encoders if not plan.ready(()))

    def write(self, out: Path, layout: str, on_event: OnEncoder) -> dict[str, Any]:
        """Train what is not in the cache and write the features; what ``features.json`` holds."""
        train(self.encoders, on_event)
        return write_export(self.protocol, self.encoders, layout, out)


def plan_export(
    request: Request, catalogue: Catalogue, on_event: Event = ignore_event
) -> PlannedExport:
    """The encoders that a request names, with clips opened or made.

    Raises:
        UserError: for anything invalid in the request.
    """
    wanted = look_up_encoder(request, catalogue)
    if wanted.changed:
        check_together([(wanted.encoder.entry, wanted.encoder.settings)], wanted.machine)
    dataset = open_or_make(wanted.data.entry, wanted.machine, on_event)
    protocol, encoders = plan_encoders(wanted, dataset)
    return PlannedExport(protocol, encoders, wanted.choices)


def export_features(
    protocol: str,
    out: str | Path,
    *,
    layout: str = "npy",
    skeleton_encoder: str | None = None,
    seed: int = 0,
    params: Mapping[str, Any] | None = None,
    profile: str | None = None,
    data: str = "auto",
    device: str = "auto",
    threads: int = 1,
    force: bool = False,
    plugins: Plugins = (),
    on_event: OnEncoder = lambda plan, event: None,
) -> dict[str, Any]:
    """Train the encoder of a protocol, or take it from the cache, and write its features.

    Args:
        protocol: whose split.
        out: folder to make.
        layout: ``npy``, a folder of arrays as the field exchanges them, or ``npz``, one file.
        skeleton_encoder: name; None: the best available.
        seed: of the encoder.
        params: of the encoder.
        profile: ``paper`` or ``laptop``.
        data: ``real``, ``stand-in`` or ``auto``.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: CPU threads of a worker.
        force: replace an earlier export.
        plugins: plugin files to load beside the installed ones.
        on_event: gets the encoder's plan and ``stage``, ``step``, ``total``.

    Returns:
        What ``features.json`` holds: rounds with counts, channels and hashes.

    Raises:
        UserError: for anything that cannot be, and for a place that is taken.
        RunFailed: if the encoder fails.
    """
    folder = Path(out).expanduser().absolute()
    check_target(folder, layout, force)
    request = make_request(
        (),
        protocol,
        seeds=seed,
        skeleton_encoder=skeleton_encoder,
        params=params,
        profile=profile,
        data=data,
        device=device,
        threads=threads,
        results=folder,
    )
    catalogue = load([Path(file) for file in plugins])
    warn_of_synthetic(data_of(request, catalogue))
    return plan_export(request, catalogue).write(folder, layout, on_event)
