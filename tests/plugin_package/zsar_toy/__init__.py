"""A whole third-party plugin of zsar-bench: one of everything, small and quick.

Its data set is made by ``zsar_toy.make``; importing this package loads neither numpy nor torch.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.hookspecs import hookimpl
from zsar_bench.specs import (
    DatasetSpec,
    MethodSpec,
    MetricSpec,
    ReporterSpec,
    SkeletonEncoderSpec,
    TextEncoderSpec,
)

if TYPE_CHECKING:
    from zsar_bench.registry import Registry

api = 1

HERE = Path(__file__).parent
EVENTS = "ZSAR_BENCH_TOY_EVENTS"  #: environment variable: file to which events are appended


@hookimpl
def register_methods(registry: Registry) -> None:
    """Add ``toy-ridge`` and the misbehaving ``toy-faulty``."""
    registry.method(
        MethodSpec(
            name="toy-ridge",
            target="zsar_toy.methods:Ridge",
            params="zsar_toy.methods:RidgeParams",
            summary="ridge regression from features to texts by gradient steps",
            hp="authors",
            seconds={"laptop": 1, "paper": 1},
        )
    )
    registry.method(
        MethodSpec(
            name="toy-faulty",
            target="zsar_toy.methods:Faulty",
            params="zsar_toy.methods:FaultyParams",
            summary="goes wrong in the way that its parameter 'fault' says",
            seconds={"laptop": 1, "paper": 1},
        )
    )


@hookimpl
def register_skeleton_encoders(registry: Registry) -> None:
    """Add ``toy-mean``."""
    registry.skeleton_encoder(
        SkeletonEncoderSpec(
            name="toy-mean",
            target="zsar_toy.encoders:Mean",
            params="zsar_toy.encoders:MeanParams",
            summary="means, deviations and speeds of the joints, and a small layer over them",
            fallback_rank=50,
            seconds={"laptop": 1, "paper": 1},
        )
    )


@hookimpl
def register_text_encoders(registry: Registry) -> None:
    """Add ``toy-hash``."""
    registry.text_encoder(
        TextEncoderSpec(
            name="toy-hash",
            target="zsar_toy.texts:Hash",
            params="zsar_toy.texts:HashParams",
            summary="words hashed to random vectors; no weights, nothing to load",
            fallback_rank=50,
        )
    )


@hookimpl
def register_datasets(registry: Registry) -> None:
    """Add ``toy-motion`` and ``toy-stand-in``."""
    folder = HERE / "data"
    registry.dataset(
        DatasetSpec(
            name="toy-motion",
            target="zsar_toy.reader:Reader",
            title="Toy Motion",
            classes=folder / "classes.toml",
            layout=folder / "layout.toml",
            texts={"a": folder / "texts-a.toml", "b": folder / "texts-b.toml"},
            clips=96,
            bodies=1,
            fps=20.0,
            how_to_get="Make it: python -m zsar_toy.make FOLDER.",
            licence="None needed: it is synthetic.",
            samples={
                "rule": "performer-cross-fit",
                "groups": [["1", "3", "5", "7"], ["2", "4", "6", "8"]],
            },
        )
    )
    registry.dataset(
        DatasetSpec(
            name="toy-stand-in",
            target="zsar_toy.stand_in:StandIn",
            params="zsar_toy.stand_in:StandInParams",
            stand_in_for="toy-motion",
            title="a stand-in for Toy Motion",
            classes=folder / "classes.toml",
            layout=folder / "layout.toml",
            texts={"a": folder / "texts-a.toml", "b": folder / "texts-b.toml"},
            bodies=1,
            fps=20.0,
            assets=(HERE / "stand_in.toml",),
        )
    )


@hookimpl
def register_protocols(registry: Registry) -> None:
    """Add ``toy-4-2``."""
    registry.protocols(HERE / "protocols")


@hookimpl
def register_metrics(registry: Registry) -> None:
    """Add ``toy-rank``."""
    registry.metric(
        MetricSpec(
            name="toy-rank",
            target="zsar_toy.output:mean_rank",
            summary="mean rank of the true class, 1 is best",
        )
    )


@hookimpl
def register_reporters(registry: Registry) -> None:
    """Add ``toy-lines``."""
    registry.reporter(
        ReporterSpec(
            name="toy-lines",
            target="zsar_toy.output:lines",
            summary="one line a row: protocol, method, top-1 accuracy",
        )
    )


@hookimpl
def run_event(event: dict[str, Any]) -> None:
    """Append the event to the file that ``ZSAR_BENCH_TOY_EVENTS`` names, one JSON a line."""
    path = os.environ.get(EVENTS)
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")
