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
    """Add every method of this package, in alphabetical order."""
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
    registry.method(
        MethodSpec(
            name="conse",
            target="zsar_alignment.conse:ConSE",
            params="zsar_alignment.conse:Params",
            summary="A classifier of seen classes says which seen texts to mix; the nearest "
            "candidate text is the answer.",
            paper="M. Norouzi et al., Zero-shot learning by convex combination of semantic "
            "embeddings, ICLR 2014",
            text_fields=("motion", "description"),
            seconds={"laptop": 5, "paper": 5},
        )
    )
    registry.method(
        MethodSpec(
            name="devise",
            target="zsar_alignment.devise:DeViSE",
            params="zsar_alignment.devise:Params",
            summary="Linear map from skeleton features to texts, trained by a hinge rank loss.",
            paper="A. Frome et al., DeViSE: A Deep Visual-Semantic Embedding Model, NeurIPS 2013",
            text_fields=("motion", "description"),
            batch="batch",
            seconds={"laptop": 5, "paper": 5},
        )
    )
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
            name="jpose",
            target="zsar_alignment.jpose:JPoSE",
            params="zsar_alignment.jpose:Params",
            summary="A common space for verbs, one for nouns, and a joint one made of both.",
            paper="M. Wray, D. Larlus, G. Csurka, D. Damen, Fine-Grained Action Retrieval Through "
            "Multiple Parts-of-Speech Embeddings, ICCV 2019; as re-implemented by P. Gupta et al., "
            "ICIP 2021",
            text_fields=("verb", "noun"),
            hp="authors",
            batch="batch",
            seconds={"laptop": 10, "paper": 60},
        )
    )
    registry.method(
        MethodSpec(
            name="neuron",
            target="zsar_alignment.neuron:Neuron",
            params="zsar_alignment.neuron:Params",
            summary="Micro-prototypes that joints and phases rewrite, held against sentences.",
            paper="Y. Chen, J. Guo, S. Guo, D. Tao, Neuron: Learning Context-Aware Evolving "
            "Representations for Zero-Shot Skeleton Action Recognition, CVPR 2025",
            wants=("tokens",),
            text_fields=(
                *("description", "motion", "head", "arms", "torso", "legs"),
                *("start", "middle", "end"),
            ),
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
            name="revise",
            target="zsar_alignment.revise:ReViSE",
            params="zsar_alignment.revise:Params",
            summary="Auto-encoders of features and texts with matched codes and a ranking loss.",
            paper="Y.-H. H. Tsai, L.-K. Huang, R. Salakhutdinov, Learning Robust Visual-Semantic "
            "Embeddings, ICCV 2017; as re-implemented by P. Gupta et al., ICIP 2021",
            text_fields=("motion", "description"),
            hp="authors",
            batch="batch",
            seconds={"laptop": 10, "paper": 20},
        )
    )
    registry.method(
        MethodSpec(
            name="sae",
            target="zsar_alignment.sae:SAE",
            params="zsar_alignment.sae:Params",
            summary="Linear auto-encoder of features whose code is the text, in closed form.",
            paper="E. Kodirov, T. Xiang, S. Gong, Semantic Autoencoder for Zero-Shot "
            "Learning, CVPR 2017",
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
    registry.method(
        MethodSpec(
            name="text-only",
            target="zsar_alignment.text_only:TextOnly",
            params="zsar_alignment.text_only:Params",
            summary="The candidate that reads most like the seen classes, for every clip: what "
            "texts are worth without motion.",
            text_fields=("motion", "description"),
            seconds={"laptop": 5, "paper": 5},
        )
    )
