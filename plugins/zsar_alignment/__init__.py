"""Feature-alignment baselines: closed forms and sanity checks, one file a method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsar_bench.hookspecs import hookimpl
from zsar_bench.specs import MethodSpec, Setting

if TYPE_CHECKING:
    from zsar_bench.registry import Registry

api = 1
#: One class under two settings: what it reads of unseen classes follows from the setting.
STARS: tuple[tuple[str, Setting, str], ...] = (
    ("star", "inductive", ""),
    ("star-all-texts", "class-transductive", "; unseen part texts in training, as the authors'"),
)


@hookimpl
def register_methods(registry: Registry) -> None:
    """Add ``eszsl``, ``prototypes`` and ``chance``."""
    registry.method(
        MethodSpec(
            name="eszsl",
            target="zsar_alignment.eszsl:ESZSL",
            params="zsar_alignment.eszsl:Params",
            summary="Bilinear map from skeleton features to texts, solved in closed form.",
            paper="B. Romera-Paredes, P. H. S. Torr, An embarrassingly simple approach to "
            "zero-shot learning, ICML 2015",
            text_fields=("motion", "description"),
            seconds={"laptop": 5, "paper": 5},
        )
    )
    registry.method(
        MethodSpec(
            name="neuron",
            target="zsar_alignment.neuron:Neuron",
            params="zsar_alignment.neuron:Params",
            summary="Micro-prototypes that grow by joints and phases, and by sentences about them.",
            paper="Y. Chen, J. Guo, S. Guo, D. Tao, Neuron: Learning Context-Aware Evolving "
            "Representations for Zero-Shot Skeleton Action Recognition, CVPR 2025",
            wants=("tokens",),
            text_fields=("head", "arms", "torso", "legs", "start", "middle", "end"),
            hp="authors",
            leaks=("union",),
            batch="batch",
            seconds={"laptop": 30, "paper": 300},
        )
    )
    registry.method(
        MethodSpec(
            name="prototypes",
            target="zsar_alignment.prototypes:Prototypes",
            params="zsar_alignment.prototypes:Params",
            summary="Unseen class prototypes mixed from seen class means by text similarity.",
            paper="after M. Norouzi et al., Zero-shot learning by convex combination of "
            "semantic embeddings, ICLR 2014",
            text_fields=("motion", "description"),
            seconds={"laptop": 5, "paper": 5},
        )
    )
    registry.method(
        MethodSpec(
            name="chance",
            target="zsar_alignment.chance:Chance",
            params="zsar_alignment.chance:Params",
            summary="Random scores, drawn from the seed: what knowing nothing is worth.",
            text_fields=("motion", "description"),
            seconds={"laptop": 5, "paper": 5},
        )
    )
    for name, setting, more in STARS:
        registry.method(
            MethodSpec(
                name=name,
                target="zsar_alignment.star:STAR",
                params="zsar_alignment.star:Params",
                summary=f"Body parts of skeletons and texts, prompts on both sides{more}.",
                paper="Y. Chen, J. Guo, T. He, L. Wang, Fine-Grained Side Information Guided "
                "Dual-Prompts for Zero-Shot Skeleton Action Recognition, ACM MM 2024",
                setting=setting,
                wants=("tokens",),
                text_fields=("name", "head", "arms", "torso", "legs"),
                hp="authors",
                batch="batch",
                seconds={"laptop": 30, "paper": 300},
            )
        )
