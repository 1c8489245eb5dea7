"""Readers of skeleton data sets, one file each, with their classes, joints and class texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zsar_bench.hookspecs import hookimpl
from zsar_bench.specs import DatasetSpec

if TYPE_CHECKING:
    from zsar_bench.registry import Registry

api = 1

DATA = Path(__file__).parent / "data"
GRAMMAR = Path(__file__).parent / "stand_in" / "grammar.toml"


@hookimpl
def register_datasets(registry: Registry) -> None:
    """Add ``utd-mhad``, ``nw-ucla``, ``ntu-60`` and ``ntu-120``."""
    folder = DATA / "utd-mhad"
    registry.dataset(
        DatasetSpec(
            name="utd-mhad",
            target="zsar_datasets.utd_mhad:Reader",
            title="UTD-MHAD",
            classes=folder / "classes.toml",
            layout=folder / "layout.toml",
            texts={"a": folder / "texts-a.toml", "b": folder / "texts-b.toml"},
            clips=861,
            bodies=1,
            fps=30.0,
            how_to_get="Download the skeleton archive (861 .mat files, about 15 MB) from the "
            "authors' page, https://personal.utdallas.edu/~kehtar/UTD-MHAD.html.",
            licence="Offered by its authors as a public research data set; no licence text "
            "was found. Cite the paper; do not redistribute the files.",
            citation='C. Chen, R. Jafari, N. Kehtarnavaz, "UTD-MHAD: A multimodal dataset for '
            "human action recognition utilizing a depth camera and a wearable inertial "
            'sensor", ICIP 2015',
        )
    )
    folder = DATA / "nw-ucla"
    registry.dataset(
        DatasetSpec(
            name="nw-ucla",
            target="zsar_datasets.nw_ucla:Reader",
            title="NW-UCLA",
            classes=folder / "classes.toml",
            layout=folder / "layout.toml",
            texts={"a": folder / "texts-a.toml", "b": folder / "texts-b.toml"},
            clips=1482,
            min_frames=2,  # two of the 1,484 files hold a single frame: no motion
            bodies=1,
            fps=30.0,
            how_to_get="Get the archive of skeletons as JSON (all_sqe, 1,484 files, about 15 MB) "
            "that CTR-GCN's repository links for NW-UCLA.",
            licence="An academic data set; no licence text was found. Cite the paper; do not "
            "redistribute the files.",
            citation='J. Wang, X. Nie, Y. Xia, Y. Wu, S.-C. Zhu, "Cross-view action modeling, '
            'learning and recognition", CVPR 2014',
        )
    )
    whole = DATA / "ntu-120"
    for name, reader, title, clips in (
        ("ntu-60", "Reader60", "NTU RGB+D", 56_578),
        ("ntu-120", "Reader", "NTU RGB+D 120", 113_945),
    ):
        registry.dataset(
            DatasetSpec(
                name=name,
                target=f"zsar_datasets.ntu:{reader}",
                title=title,
                classes=DATA / name / "classes.toml",
                layout=whole / "layout.toml",
                texts={"a": whole / "texts-a.toml", "b": whole / "texts-b.toml"},
                clips=clips,
                bodies=2,
                assets=(whole / "samples.toml",),
                fps=30.0,
                how_to_get="Sign the authors' agreement at https://rose1.ntu.edu.sg/dataset/"
                "actionRecognition/ and download the archives of 3D skeletons (.skeleton files).",
                licence="For academic research after a signed agreement; no redistribution.",
                citation="A. Shahroudy et al., NTU RGB+D, CVPR 2016; J. Liu et al., "
                "NTU RGB+D 120, TPAMI 2020",
            )
        )
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
