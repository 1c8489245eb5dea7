"""A whole plan of a run on a made data set; no file and no worker stands behind it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from zsar_bench.catalogue.catalogue import Entry
from zsar_bench.catalogue.machine import Machine
from zsar_bench.catalogue.settings import Settings
from zsar_bench.common.classes import ActionClass
from zsar_bench.data.clips.store import Dataset
from zsar_bench.data.protocols.protocol import CROSS_FIT, Protocol
from zsar_bench.data.protocols.splits import make_rounds
from zsar_bench.data.texts.texts import ClassTexts
from zsar_bench.features.encoders import EncoderPlan
from zsar_bench.features.text_embeddings import TextPlan
from zsar_bench.plans.run_plan import RunPlan

FIXED: dict[str, Any] = {
    "version": 1,
    "protocol": "p" * 64,
    "method": {"name": "a-method", "code": "c" * 64, "params": {"width": 64, "rate": 0.001}},
    "features": ["0123456789abcdef", "fedcba9876543210"],
    "texts": {"features": "00ff00ff00ff00ff", "classes": "t" * 64, "fields": ["motion", "name"]},
    "rule": "last",
    "seeds": [0, 3],
    "precision": "float32",
    "machine": {"device": "cpu", "threads": 1},
}
CLASSES = tuple(ActionClass(f"a{n}", f"class {n}", "", "") for n in range(1, 5))
SEEN, UNSEEN = ("a1", "a2", "a3"), ("a4",)
DATASET = Dataset(
    Path("nowhere"),
    {
        "name": "made",
        "clips": {
            "id": [f"a{c}_s{s}" for c in range(1, 5) for s in (1, 2)],
            "class": [f"a{c}" for c in range(1, 5) for _ in (1, 2)],
            "subject": ["1", "2"] * 4,
            "shard": [f"a{c}_{s}.npy" for c in range(1, 5) for s in (1, 2)],
            "start": [0] * 8,
            "frames": [5] * 8,
        },
        "shards": {},
        "layout": {},
        "classes": [],
    },
)
PROTOCOL = Protocol(
    id="made-3-1",
    title="",
    dataset="made",
    family="",
    source="",
    confidence="",
    notes="",
    aliases=(),
    seen=SEEN,
    unseen=UNSEEN,
    rule=CROSS_FIT,
    groups=(("1",), ("2",)),
    test_clips=2,
    classes=CLASSES,
)
TEXTS = ClassTexts("a", 1, {f: {c.id: f"{f} {c.id}" for c in CLASSES} for f in ("name", "motion")})


def entry(kind: str, name: str, code: str = "c" * 64) -> Entry:
    return Entry(kind, name, "toy", code, {"wants": []}, {}, {})


def method(code: str = "c" * 64, setting: str = "inductive") -> Entry:
    plain = entry("methods", "toy", code)
    return replace(plain, spec={**plain.spec, "setting": setting})


def settings(**science: Any) -> Settings:
    return Settings("paper", science, {"batch": 8})


def encoders(
    code: str = "e" * 64,
    seed: int = 0,
    science: dict[str, Any] | None = None,
    data: Dataset = DATASET,
    machine: Machine | None = None,
    protocol: Protocol = PROTOCOL,
) -> tuple[EncoderPlan, ...]:
    return tuple(
        EncoderPlan(
            entry("skeleton_encoders", "net", code),
            Settings("paper", science or {"width": 4}, {"batch": 8}),
            data,
            one,
            protocol.seen,
            seed,
            machine or Machine("cpu", 1),
        )
        for one in make_rounds(protocol, data)
    )


def text_plan(**changes: Any) -> TextPlan:
    plan = TextPlan(
        entry("text_encoders", "tower", "f" * 64),
        settings(size=3),
        "weights-1",
        ("one text", "another"),
        Machine("cpu", 1),
    )
    return replace(plan, **changes)


def plan(**changes: Any) -> RunPlan:
    base = RunPlan(
        protocol=PROTOCOL,
        method=method(),
        params=settings(rate=0.1),
        encoders=encoders(),
        texts=text_plan(),
        class_texts=TEXTS,
        fields=("motion", "name"),
        rule="last",
        encoder_seed=0,
        method_seed=0,
        machine=Machine("cpu", 1),
        results=Path("results"),
    )
    return replace(base, **changes)
