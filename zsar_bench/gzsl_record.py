"""What a record says about generalised zero-shot learning; all of it follows from the matrix that
``gzsl_matrix`` keeps beside it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel

from zsar_bench.certificate import STRICT, doc
from zsar_bench.record_parts import Rescoring


class _Part(BaseModel):
    model_config = STRICT


class GzslNumbers(_Part):
    """S, U, H and what stands around them, micro or macro; fractions."""

    seen: Annotated[float, doc("S: accuracy of clips of seen classes over all classes")]
    unseen: Annotated[float, doc("U: the same of unseen classes")]
    harmonic: Annotated[float, doc("H = 2SU / (S + U)")]
    ausuc: Annotated[float, doc("area under S over U as one constant takes every value")]
    oracle_harmonic: Annotated[
        float, doc("chosen on test: highest H that one constant for all rounds reaches")
    ]
    oracle_constant: Annotated[float, doc("chosen on test: that constant, off the seen scores")]


class GzslRotation(_Part):
    """One rehearsal: some seen classes and training performers were held out."""

    round: Annotated[str, doc("name of the round")]
    held_out: Annotated[list[str], doc("official ids of the seen classes that played unseen ones")]
    performers: Annotated[list[str], doc("training performers that nothing was learnt from")]
    unseen_of: Annotated[
        Literal["validation", "training"],
        doc("whose clips were pseudo-unseen: these performers', or all training performers'"),
    ]
    seen_clips: Annotated[int, doc("clips of kept classes by these performers")]
    unseen_clips: Annotated[int, doc("clips of held-out classes")]
    encoder: Annotated[str, doc("key of its own skeleton encoder")]
    training_clips: Annotated[int, doc("of its fit's training clips, those whose margins count")]
    size: Annotated[float, doc("root mean square of these margins; 1 where all are 0")]
    constant: Annotated[float, doc("of the best macro H in the rotation")]
    standing: Annotated[float, doc("constant / size: what is carried over")]
    harmonic: Annotated[float, doc("that macro H")]


class GzslGate(_Part):
    """A fitted gate; ``gzsl_gate`` says how it reads a clip."""

    k: Annotated[int, doc("softmax values that it reads of each expert")]
    temperature: Annotated[float, doc("of the method's scores, divided by their spread")]
    supervised: Annotated[float, doc("temperature of the encoder's logits")]
    threshold: Annotated[float, doc("probability of a seen class above which a clip is one's")]
    weights: Annotated[list[float], doc("of k values of the method, then of k of the encoder")]
    bias: Annotated[float, doc("of the logistic regression")]
    harmonic: Annotated[float, doc("mean macro H of the rotations, which it was chosen by")]


class GzslRound(_Part):
    """The operating point of one round."""

    round: Annotated[str, doc("name of the round")]
    training_clips: Annotated[int, doc("of its fit's training clips, those whose margins count")]
    size: Annotated[float, doc("root mean square of these margins; 1 where all are 0")]
    standing: Annotated[float, doc("median of its rotations' standings")]
    constant: Annotated[float, doc("standing x size; off the seen scores, unless there is a gate")]
    spread: Annotated[float | None, doc("of these clips' unseen scores; null without a gate")]
    gate: Annotated[GzslGate | None, doc("null without a gate")]
    scored: Annotated[
        list[str], doc("SHA-256 of candidates' texts and clips as sent, one for each binding")
    ]


class GzslPart(_Part):
    """Clips of seen and unseen classes judged over all classes."""

    kind: Annotated[Literal["constant", "gate"], doc("how the two sides are balanced")]
    seen_clips: Annotated[int, doc("tested clips of seen classes, by new performers")]
    unseen_clips: Annotated[int, doc("tested clips of unseen classes")]
    samples: Annotated[str, doc("digest of the sorted ids of all these clips")]
    micro: Annotated[GzslNumbers, doc("S and U as means over clips")]
    macro: Annotated[GzslNumbers, doc("S and U as means over classes")]
    rounds: Annotated[list[GzslRound], doc("operating points, round by round")]
    rotations: Annotated[list[GzslRotation], doc("rehearsals that they come from")]
    rescoring: Annotated[Rescoring, doc("clips scored again over all classes, one at a time")]
