"""Readers of skeleton data sets, one file each, with their classes, joints and class texts."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from zsar_bench.hookspecs import hookimpl
from zsar_bench.specs import DatasetSpec

if TYPE_CHECKING:
    from zsar_bench.registry import Registry

api = 1

DATA = Path(__file__).parent / "data"
GRAMMAR = Path(__file__).parent / "stand_in" / "grammar.toml"


FACTS = ("title", "clips", "min_frames", "bodies", "fps", "how_to_get", "licence", "citation")


@hookimpl
def register_datasets(registry: Registry) -> None:
    """Add every folder of ``data/`` that has a ``dataset.toml``, and the stand-ins."""
    for file in sorted(DATA.glob("*/dataset.toml")):
        registry.dataset(_described(file))
    _register_stand_ins(registry)


def _described(file: Path) -> DatasetSpec:
    """The data set of a folder: ``dataset.toml``, ``classes.toml``, ``layout.toml`` and
    ``texts-<set>.toml``; the last two may be those of the folder that it ``shares``."""
    about = tomllib.loads(file.read_text("utf-8"))
    folder = file.parent
    shared = DATA / about["shares"] if "shares" in about else folder
    return DatasetSpec(
        name=folder.name,
        target=f"zsar_datasets.{about['reader']}",
        classes=folder / "classes.toml",
        layout=shared / "layout.toml",
        texts={path.stem.removeprefix("texts-"): path for path in _own_texts(shared)},
        assets=tuple(folder / name for name in about.get("assets", ())),
        parts=tuple(about.get("parts", ())),
        **{name: about[name] for name in (*FACTS, "samples") if name in about},
    )


def _own_texts(folder: Path) -> list[Path]:
    """The class texts that somebody wrote, of the sets ``a``, ``b`` and so on."""
    return sorted(folder.glob("texts-?.toml"))


def _register_stand_ins(registry: Registry) -> None:
    whole = DATA / "ntu-120"
    for name, real, made, clips in (
        ("stand-in-ntu-60", "ntu-60", "Generator60", 2_400),
        ("stand-in-ntu-120", "ntu-120", "Generator120", 6_540),
        ("stand-in-pku-mmd", "pku-mmd", "GeneratorPKU", 3_366),
    ):
        classes = DATA / real / "classes.toml"
        texts = DATA / (real if real == "pku-mmd" else "ntu-120")
        registry.dataset(
            DatasetSpec(
                name=name,
                target=f"zsar_datasets.stand_in.generator:{made}",
                params="zsar_datasets.stand_in.generator:Params",
                stand_in_for=real,
                assets=(GRAMMAR, whole / "samples.toml"),
                title=f"made-up skeletons that act the classes of {real} (motion grammar v1)",
                classes=classes,
                layout=texts / "layout.toml",
                texts={
                    "a": texts / "texts-a.toml",
                    "b": texts / "texts-b.toml",
                    "oracle": DATA / real / "texts-oracle.toml",
                },
                clips=clips,
                bodies=2,
                fps=30.0,
                how_to_get="It is made on this machine; nothing has to be had.",
                licence="Apache-2.0, as zsar-bench: no recorded motion is in it.",
            )
        )
