"""The parts of a record: what was run, on what, with what, and the numbers that came out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel

from zsar_bench.certificate import STRICT
from zsar_bench.certificate import doc as _doc


class _Part(BaseModel):
    model_config = STRICT


class ProtocolPart(_Part):
    """What was tested, on which samples."""

    id: Annotated[str, _doc("protocol id")]
    dataset: Annotated[str, _doc("data set id")]
    digest: Annotated[str, _doc("SHA-256 of classes and sample rule")]
    data: Annotated[str, _doc("SHA-256 of the prepared data set, or of released features")]
    samples: Annotated[str, _doc("SHA-256 of the list of tested clips")]
    rule: Annotated[str, _doc("sample rule; whoever released features has applied it")]
    seen: Annotated[list[str], _doc("official ids of the seen classes")]
    unseen: Annotated[list[str], _doc("official ids of the classes that were candidates")]
    expected_clips: Annotated[
        int, _doc("unseen test clips of the complete data set; 0 if nobody published a number")
    ]
    stand_in_for: Annotated[
        str, _doc("real data set in whose place synthetic clips were used; empty for real clips")
    ] = ""
    family_of: Annotated[str, _doc("protocol of which this is a random split, else empty")] = ""
    dials: Annotated[dict[str, float], _doc("dials turned, by name")] = {}
    folds: Annotated[
        list[list[str]], _doc("classes that were unseen together, where they take turns")
    ] = []


class TuningPart(_Part):
    """The search that a method's parameters come from; see ``zsar_bench.tuning``."""

    budget: Annotated[int, _doc("trials that were asked for, the profile's own values included")]
    trials: Annotated[int, _doc("trials there were; fewer if the space has no more points")]
    trial: Annotated[int, _doc("the best one, whose values the run has; 0: the profile's own")]
    accuracy: Annotated[float, _doc("its macro accuracy on pseudo-unseen classes")]
    base_accuracy: Annotated[float, _doc("that of trial 0")]
    space: Annotated[dict[str, Any], _doc("parameter -> where it was searched")]
    seeds: Annotated[list[tuple[int, int]], _doc("seeds of encoder and method, averaged over")]
    recipe: Annotated[str, _doc("SHA-256 of all that makes two searches the same procedure")]
    search: Annotated[str, _doc("SHA-256 of what was found: the digest in tuning.json")]

    @property
    def identity(self) -> dict[str, Any]:
        """What a run's identity says of it."""
        return {"budget": self.budget, "recipe": self.recipe, "search": self.search}


class MethodPart(_Part):
    """The method and its parameters."""

    name: Annotated[str, _doc("method id")]
    plugin: Annotated[str, _doc("plugin that registered it")]
    digest: Annotated[str, _doc("SHA-256 of its code, comments apart")]
    profile: Annotated[str, _doc("named profile the parameters start from")]
    science: Annotated[dict[str, Any], _doc("parameters that are part of the identity")]
    runtime: Annotated[dict[str, Any], _doc("parameters that are not")]
    hp: Annotated[
        str, _doc("where the hyper-parameters come from: authors, untuned or tuned (by a search)")
    ]
    declared_setting: Annotated[str, _doc("setting the plugin declares")]
    setting: Annotated[
        Literal["inductive", "class-transductive", "transductive", "unknown"],
        _doc("setting after the re-scoring check; the one it is ranked in; unknown: not run here"),
    ]
    leak: Annotated[
        Literal["", "labels"],
        _doc("labels: it asked for the test clips' true classes; such a run is not ranked"),
    ] = ""
    tuning: Annotated[TuningPart | None, _doc("the search, where hp is tuned")] = None


class EncoderRound(_Part):
    """The skeleton encoder of one round."""

    round: Annotated[str, _doc("name of the round")]
    key: Annotated[str, _doc("key of the trained encoder and its features")]
    train_clips: Annotated[int, _doc("clips it was trained on, all of seen classes")]
    train_subjects: Annotated[list[str], _doc("performers it was trained on; empty if not known")]
    seen_accuracy: Annotated[
        float | None,
        _doc("its own accuracy on seen classes of the test performers; null if not known"),
    ]
    seconds: Annotated[float, _doc("wall time of training and encoding; 0 for released features")]


class Released(_Part):
    """Features that somebody has published, in the place of an encoder trained here."""

    hash: Annotated[str, _doc("SHA-256 of all arrays")]
    folder: Annotated[str, _doc("name of the folder they were read from")]
    channels: Annotated[int, _doc("channels of a feature vector")]
    clips: Annotated[dict[str, int], _doc("part (train, ztest, gtest) -> clips")]
    dropped_clips: Annotated[
        int, _doc("unseen test clips of the complete data set less those of ztest")
    ]
    train_classes: Annotated[
        list[str], _doc("official ids of the classes with training clips; said by the labels")
    ]


class EncoderPart(_Part):
    """The skeleton encoder."""

    name: Annotated[str, _doc("skeleton encoder id")]
    plugin: Annotated[str, _doc("plugin that registered it")]
    digest: Annotated[str, _doc("SHA-256 of its code, comments apart")]
    profile: Annotated[str, _doc("named profile")]
    science: Annotated[dict[str, Any], _doc("parameters")]
    origin: Annotated[
        Literal["certified", "declared", "released", "unknown"],
        _doc(
            "certified: trained here, on seen classes only; released: features of others; "
            "unknown: only scores were brought along"
        ),
    ]
    released: Annotated[Released | None, _doc("the features, where origin is released")] = None
    rounds: Annotated[list[EncoderRound], _doc("one trained encoder a round")]


class TextPart(_Part):
    """Class texts and their encoder."""

    encoder: Annotated[str, _doc("text encoder id")]
    plugin: Annotated[str, _doc("plugin that registered it")]
    digest: Annotated[str, _doc("SHA-256 of its code, comments apart")]
    science: Annotated[dict[str, Any], _doc("parameters")]
    fingerprint: Annotated[str, _doc("hash of its weights")]
    source: Annotated[str, _doc("text set")]
    version: Annotated[int, _doc("version of the text set")]
    fields: Annotated[list[str], _doc("text fields, in the order the method gets them")]
    texts: Annotated[str, _doc("SHA-256 of the texts of these fields")]
    oracle: Annotated[bool, _doc("whether texts and clips were made from the same facts")] = False
    control: Annotated[str, _doc("text control; empty: every class had its own texts")] = ""
    draw: Annotated[int, _doc("draw of the text control")] = 0


class Choice(_Part):
    """Something nobody named, and why it was taken."""

    what: Annotated[str, _doc("what was chosen")]
    value: Annotated[str, _doc("what it became")]
    reason: Annotated[str, _doc("why")]


class Rescoring(_Part):
    """Clips scored again one at a time in another order."""

    clips: Annotated[int, _doc("clips scored twice")]
    largest_change: Annotated[float, _doc("largest absolute change of a score")]
    tolerance: Annotated[float, _doc("largest change taken for rounding")]


class Metrics(_Part):
    """Numbers computed from the stored score matrix; accuracies as fractions."""

    clips: Annotated[int, _doc("tested clips")]
    micro: Annotated[float, _doc("share of clips that are right; ties share credit")]
    macro: Annotated[float, _doc("mean over classes of the share of their clips")]
    chance: Annotated[float, _doc("macro accuracy of a guess among a clip's candidates; 1/K")]
    chance_micro: Annotated[
        float | None, _doc("micro accuracy of that guess; the same unless clips differ in K")
    ] = None
    guesses: Annotated[
        dict[str, dict[str, float]],
        _doc("class -> performer -> credit of that guess a clip, where clips differ in K"),
    ] = {}
    largest_class: Annotated[float, _doc("share of the most frequent class")]
    tied: Annotated[int, _doc("clips whose highest score is shared")]
    cells: Annotated[
        dict[str, dict[str, tuple[float, int]]],
        _doc("class -> performer (empty if not known) -> (credit, clips); all numbers follow"),
    ]
    plugins: Annotated[dict[str, float], _doc("metrics of other people's plugins")] = {}


class Environment(_Part):
    """Where and with what the run was made."""

    zsar_bench: Annotated[str, _doc("version")]
    commit: Annotated[str, _doc("git commit of the source tree, empty if installed")]
    dirty: Annotated[bool | None, _doc("whether that tree had uncommitted changes, results apart")]
    python: Annotated[str, _doc("version")]
    torch: Annotated[str, _doc("version")]
    platform: Annotated[str, _doc("operating system and processor")]
    device: Annotated[str, _doc("cpu or cuda")]
    device_name: Annotated[str, _doc("name of the accelerator")]
    threads: Annotated[int, _doc("CPU threads of a worker")]
    precision: Annotated[str, _doc("float32 or mixed")]
    confinement: Annotated[str, _doc("how workers were confined")]


class Seconds(_Part):
    """Wall time of the run's own stages."""

    fit: Annotated[float, _doc("all rounds' fits")]
    score: Annotated[float, _doc("all rounds' scoring")]
