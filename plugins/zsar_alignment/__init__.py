"""Feature-alignment baselines: closed forms, trained networks and sanity checks, one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsar_bench.hookspecs import hookimpl
from zsar_bench.specs import MethodSpec

if TYPE_CHECKING:
    from zsar_bench.registry import Registry

api = 1

PGFA = (
    "K. Zhou et al., Zero-Shot Skeleton-Based Action Recognition With Prototype-Guided Feature "
    "Alignment, IEEE TIP 2025, arXiv 2507.00566"
)
SMIE = (
    "Y. Zhou et al., Zero-shot Skeleton-based Action Recognition via Mutual Information "
    "Estimation and Maximization, ACM MM 2023"
)
STAR = (
    "Y. Chen, J. Guo, T. He, L. Wang, Fine-Grained Side Information Guided Dual-Prompts for "
    "Zero-Shot Skeleton Action Recognition, ACM MM 2024"
)

SPECS = (
    MethodSpec(
        name="cada-vae",
        target="zsar_alignment.cada_vae:CadaVAE",
        params="zsar_alignment.cada_vae:Params",
        summary="Two VAEs, of skeleton features and of class texts, that decode each other's "
        "latents; unseen classes are told by a classifier of latents of their texts.",
        paper="E. Schönfeld et al., Generalized zero- and few-shot learning via aligned "
        "variational autoencoders, CVPR 2019; for skeletons P. Gupta et al., ICIP 2021",
        text_fields=("motion", "description"),
        hp="authors",
        batch="batch",
        seconds={"laptop": 4, "paper": 60},
    ),
    MethodSpec(
        name="chance",
        target="zsar_alignment.chance:Chance",
        params="zsar_alignment.chance:Params",
        summary="Random scores, drawn from the seed: what knowing nothing is worth.",
        text_fields=("motion", "description"),
        seconds={"laptop": 5, "paper": 5},
    ),
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
    ),
    MethodSpec(
        name="devise",
        target="zsar_alignment.devise:DeViSE",
        params="zsar_alignment.devise:Params",
        summary="Linear map from skeleton features to texts, trained by a hinge rank loss.",
        paper="A. Frome et al., DeViSE: A Deep Visual-Semantic Embedding Model, NeurIPS 2013",
        text_fields=("motion", "description"),
        batch="batch",
        seconds={"laptop": 5, "paper": 5},
    ),
    MethodSpec(
        name="eszsl",
        target="zsar_alignment.eszsl:ESZSL",
        params="zsar_alignment.eszsl:Params",
        summary="Bilinear map from skeleton features to texts, solved in closed form.",
        paper="B. Romera-Paredes, P. H. S. Torr, An embarrassingly simple approach to "
        "zero-shot learning, ICML 2015",
        text_fields=("motion", "description"),
        seconds={"laptop": 5, "paper": 5},
    ),
    MethodSpec(
        name="fs-vae",
        target="zsar_alignment.fs_vae:FSVAE",
        params="zsar_alignment.fs_vae:Params",
        summary="Aligned VAEs whose encoders scale frequency bands, with a cross term that "
        "compares matching pairs with random ones.",
        paper="W. Wu et al., Frequency-semantic enhanced variational autoencoder for "
        "zero-shot skeleton-based action recognition, ICCV 2025, arXiv 2506.22179",
        text_fields=("motion", "description"),
        hp="authors",
        batch="batch",
        seconds={"laptop": 7, "paper": 110},
    ),
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
    ),
    MethodSpec(
        name="msf",
        target="zsar_alignment.msf:MSF",
        params="zsar_alignment.msf:Params",
        summary="Aligned VAEs of skeleton features and of label, action description and motion "
        "description joined.",
        paper="M.-Z. Li et al., Multi-semantic fusion model for generalized zero-shot "
        "skeleton-based action recognition, ICIG 2023",
        text_fields=("name", "description", "motion"),
        hp="authors",
        batch="batch",
        seconds={"laptop": 4, "paper": 60},
    ),
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
    ),
    MethodSpec(
        name="pgfa",
        target="zsar_alignment.pgfa:PGFA",
        params="zsar_alignment.pgfa:Params",
        summary="Encoder and text aligned end to end; prototypes of the clips to be scored.",
        setting="transductive",
        paper=PGFA,
        wants=("clips",),
        text_fields=("motion", "description"),
        hp="authors",
        needs_encoder=True,
        batch="batch",
        seconds={"laptop": 25, "paper": 3000},
    ),
    MethodSpec(
        name="pgfa-inductive",
        target="zsar_alignment.pgfa:PGFAInductive",
        params="zsar_alignment.pgfa:InductiveParams",
        summary="PGFA's training alone: encoder and text aligned end to end.",
        paper=PGFA,
        wants=("clips",),
        text_fields=("motion", "description"),
        hp="authors",
        needs_encoder=True,
        batch="batch",
        seconds={"laptop": 25, "paper": 3000},
    ),
    MethodSpec(
        name="prototypes",
        target="zsar_alignment.prototypes:Prototypes",
        params="zsar_alignment.prototypes:Params",
        summary="Unseen class prototypes mixed from seen class means by text similarity.",
        paper="after M. Norouzi et al., Zero-shot learning by convex combination of "
        "semantic embeddings, ICLR 2014",
        text_fields=("motion", "description"),
        seconds={"laptop": 5, "paper": 5},
    ),
    MethodSpec(
        name="purls",
        target="zsar_alignment.purls:PURLS",
        params="zsar_alignment.purls:Params",
        summary="Texts of the body, its parts and a motion's phases ask a clip's features by "
        "attention; the global answer is compared with the class text.",
        paper="A. Zhu et al., Part-aware Unified Representation of Language and Skeleton for "
        "Zero-shot Action Recognition, CVPR 2024",
        wants=("tokens",),
        text_fields=(
            *("description", "head", "arms", "torso", "legs"),
            *("start", "middle", "end"),
        ),
        hp="authors",
        batch="batch",
        seconds={"laptop": 20, "paper": 1500},
        leaks=("leak",),
    ),
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
    ),
    MethodSpec(
        name="sa-dvae",
        target="zsar_alignment.sa_dvae:SADVAE",
        params="zsar_alignment.sa_dvae:Params",
        summary="VAEs whose skeleton latent has a part that class texts share and one of the "
        "clip's own, kept apart by a discriminator.",
        paper="S.-W. Li et al., SA-DVAE: improving zero-shot skeleton-based action "
        "recognition by disentangled variational autoencoders, ECCV 2024",
        text_fields=("motion", "description"),
        hp="authors",
        batch="batch",
        seconds={"laptop": 5, "paper": 5},
    ),
    MethodSpec(
        name="sae",
        target="zsar_alignment.sae:SAE",
        params="zsar_alignment.sae:Params",
        summary="Linear auto-encoder of features whose code is the text, in closed form.",
        paper="E. Kodirov, T. Xiang, S. Gong, Semantic Autoencoder for Zero-Shot "
        "Learning, CVPR 2017",
        text_fields=("motion", "description"),
        seconds={"laptop": 5, "paper": 5},
    ),
    MethodSpec(
        name="smie",
        target="zsar_alignment.smie:SMIE",
        params="zsar_alignment.smie:Params",
        summary="A network estimates the mutual information of clips and class texts; clips "
        "that lost their moving frames must say less.",
        paper=SMIE,
        wants=("clips",),
        text_fields=("motion", "description"),
        hp="authors",
        needs_encoder=True,
        batch="batch",
        seconds={"laptop": 30, "paper": 20_000},
    ),
    MethodSpec(
        name="smie-features",
        target="zsar_alignment.smie:SMIE",
        params="zsar_alignment.smie:FeatureParams",
        summary="SMIE without its temporal term, which needs no clips and no encoder.",
        paper=SMIE,
        text_fields=("motion", "description"),
        hp="authors",
        batch="batch",
        seconds={"laptop": 10, "paper": 300},
    ),
    MethodSpec(
        name="star",
        target="zsar_alignment.star:STAR",
        params="zsar_alignment.star:Params",
        summary="Body parts of skeletons and texts, prompts on both sides.",
        paper=STAR,
        setting="inductive",
        wants=("tokens",),
        text_fields=("name", "head", "arms", "torso", "legs"),
        hp="authors",
        batch="batch",
        seconds={"laptop": 30, "paper": 300},
    ),
    MethodSpec(
        name="star-all-texts",
        target="zsar_alignment.star:STAR",
        params="zsar_alignment.star:Params",
        summary="Body parts of skeletons and texts, prompts on both sides; unseen part texts "
        "in training, as the authors'.",
        paper=STAR,
        setting="class-transductive",
        wants=("tokens",),
        text_fields=("name", "head", "arms", "torso", "legs"),
        hp="authors",
        batch="batch",
        seconds={"laptop": 30, "paper": 300},
    ),
    MethodSpec(
        name="synse",
        target="zsar_alignment.synse:SynSE",
        params="zsar_alignment.synse:Params",
        summary="A VAE of skeleton features whose latent has one part aligned with a VAE of "
        "verbs and one with a VAE of nouns.",
        paper="P. Gupta, D. Sharma, R. K. Sarvadevabhatla, Syntactically guided generative "
        "embeddings for zero-shot skeleton action recognition, ICIP 2021",
        text_fields=("verb", "noun"),
        hp="authors",
        batch="batch",
        seconds={"laptop": 4, "paper": 60},
    ),
    MethodSpec(
        name="text-only",
        target="zsar_alignment.text_only:TextOnly",
        params="zsar_alignment.text_only:Params",
        summary="The candidate that reads most like the seen classes, for every clip: what "
        "texts are worth without motion.",
        text_fields=("motion", "description"),
        seconds={"laptop": 5, "paper": 5},
    ),
)


@hookimpl
def register_methods(registry: Registry) -> None:
    """Add every method of this package."""
    for spec in SPECS:
        registry.method(spec)
