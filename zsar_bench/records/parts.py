"""The parts of a record: what was run, on which data, and the resulting numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

#: Of every model in a record: no unknown fields, and none changed afterwards. Validators are built
#: when they are needed: most commands import the models and read no record.
STRICT = ConfigDict(extra="forbid", frozen=True, defer_build=True)

#: Levels of confinement, weakest first: made elsewhere; a process of its own; the kernel.
LEVELS = ("none", "process", "landlock")


def weakest_level(levels: Iterable[str]) -> Any:
    """The weakest of some levels; ``none`` (made elsewhere) only if there is no other."""
    return min({*levels} - {"none"}, key=LEVELS.index, default="none")


def doc(meaning: str) -> Any:
    """The description of a record's field."""
    return Field(description=meaning)


class _Part(BaseModel):
    model_config = STRICT


class ProtocolPart(_Part):
    """What was tested, on which samples."""

    id: Annotated[str, doc("protocol id")]
    dataset: Annotated[str, doc("data set id")]
    digest: Annotated[str, doc("SHA-256 of classes and sample rule")]
    data: Annotated[str, doc("SHA-256 of the prepared data set, or of released features")]
    samples: Annotated[str, doc("SHA-256 of the list of tested clips")]
    rule: Annotated[str, doc("sample rule; whoever released features has applied it")]
    seen: Annotated[list[str], doc("official ids of the seen classes")]
    unseen: Annotated[list[str], doc("official ids of the classes that were candidates")]
    expected_clips: Annotated[
        int, doc("unseen test clips of the complete data set; 0 if nobody published a number")
    ]
    stand_in_for: Annotated[
        str, doc("real data set in whose place synthetic clips were used; empty for real clips")
    ] = ""
    family_of: Annotated[str, doc("protocol of which this is a random split, else empty")] = ""
    folds: Annotated[
        list[list[str]], doc("classes that were unseen together, where they take turns")
    ] = []


class TuningPart(_Part):
    """The search that a method's parameters come from; see ``zsar_bench.runs.tuning.search``."""

    budget: Annotated[int, doc("trials that were requested, with the profile's own values")]
    trials: Annotated[int, doc("trials that were made; fewer if the space has no more points")]
    trial: Annotated[int, doc("the best one, whose values the run has; 0: the profile's own")]
    accuracy: Annotated[float, doc("its mean class accuracy on pseudo-unseen classes")]
    base_accuracy: Annotated[float, doc("that of trial 0")]
    space: Annotated[dict[str, Any], doc("parameter -> where it was searched")]
    seeds: Annotated[list[tuple[int, int]], doc("seeds of encoder and method, averaged over")]
    recipe: Annotated[str, doc("SHA-256 of what two searches of one procedure share")]
    search: Annotated[str, doc("SHA-256 of the outcome: the digest in tuning.json")]

    @property
    def identity(self) -> dict[str, Any]:
        """Its part of a run's identity."""
        return {"budget": self.budget, "recipe": self.recipe, "search": self.search}


class MethodPart(_Part):
    """The method and its parameters."""

    name: Annotated[str, doc("method id")]
    plugin: Annotated[str, doc("plugin that registered it")]
    digest: Annotated[str, doc("SHA-256 of its code, comments apart")]
    profile: Annotated[str, doc("named profile the parameters start from")]
    science: Annotated[dict[str, Any], doc("parameters that are part of the identity")]
    runtime: Annotated[dict[str, Any], doc("parameters that are not")]
    hp: Annotated[
        str, doc("where the hyper-parameters come from: authors, untuned or tuned (by a search)")
    ]
    declared_setting: Annotated[str, doc("setting the plugin declares")]
    setting: Annotated[
        Literal["inductive", "class-transductive", "transductive", "unknown"],
        doc("setting after the re-scoring check; the one it is ranked in; unknown: not run here"),
    ]
    leak: Annotated[
        Literal["", "labels"],
        doc("labels: it requested the test clips' true classes; such a run is not ranked"),
    ] = ""
    tuning: Annotated[TuningPart | None, doc("the search, where hp is tuned")] = None


class EncoderRound(_Part):
    """The skeleton encoder of one round."""

    round: Annotated[str, doc("name of the round")]
    key: Annotated[str, doc("key of the trained encoder and its features")]
    train_clips: Annotated[int, doc("clips it was trained on, all of seen classes")]
    train_subjects: Annotated[list[str], doc("subjects it was trained on; empty if not known")]
    seen_accuracy: Annotated[
        float | None,
        doc("its own accuracy on seen classes of the test subjects; null if not known"),
    ]
    seconds: Annotated[float, doc("wall time of training and encoding; 0 for released features")]


class Released(_Part):
    """Features that somebody has published, in the place of an encoder trained here."""

    hash: Annotated[str, doc("SHA-256 of all arrays")]
    folder: Annotated[str, doc("name of the folder they were read from")]
    channels: Annotated[int, doc("channels of a feature vector")]
    clips: Annotated[dict[str, int], doc("part (train, ztest, gtest) -> clips")]
    dropped_clips: Annotated[
        int, doc("unseen test clips of the complete data set less those of ztest")
    ]
    train_classes: Annotated[
        list[str], doc("official ids of the classes with training clips, by the labels")
    ]


class EncoderPart(_Part):
    """The skeleton encoder."""

    name: Annotated[str, doc("skeleton encoder id")]
    plugin: Annotated[str, doc("plugin that registered it")]
    digest: Annotated[str, doc("SHA-256 of its code, comments apart")]
    profile: Annotated[str, doc("named profile")]
    science: Annotated[dict[str, Any], doc("parameters")]
    origin: Annotated[
        Literal["certified", "released", "unknown"],
        doc(
            "certified: trained here, on seen classes only; released: features of others; "
            "unknown: only scores were brought along"
        ),
    ]
    released: Annotated[Released | None, doc("the features, where origin is released")] = None
    rounds: Annotated[list[EncoderRound], doc("one trained encoder a round")]


class TextPart(_Part):
    """Class texts and their encoder."""

    encoder: Annotated[str, doc("text encoder id")]
    plugin: Annotated[str, doc("plugin that registered it")]
    digest: Annotated[str, doc("SHA-256 of its code, comments apart")]
    science: Annotated[dict[str, Any], doc("parameters")]
    fingerprint: Annotated[str, doc("hash of its weights")]
    source: Annotated[str, doc("text set")]
    version: Annotated[int, doc("version of the text set")]
    fields: Annotated[list[str], doc("text fields, in the order the method gets them")]
    texts: Annotated[str, doc("SHA-256 of the texts of these fields")]
    oracle: Annotated[bool, doc("whether texts and clips were made from the same facts")] = False
    control: Annotated[str, doc("text control; empty: every class had its own texts")] = ""
    draw: Annotated[int, doc("draw of the text control")] = 0


class Choice(_Part):
    """A value that the user left open, and why it was chosen."""

    what: Annotated[str, doc("what was chosen")]
    value: Annotated[str, doc("its value")]
    reason: Annotated[str, doc("why")]


class Rescoring(_Part):
    """Clips scored again one at a time in another order."""

    clips: Annotated[int, doc("clips scored twice")]
    largest_change: Annotated[float, doc("largest absolute change of a score")]
    tolerance: Annotated[float, doc("largest change that counts as rounding")]


class Metrics(_Part):
    """Numbers computed from the stored score matrix; accuracies as fractions."""

    clips: Annotated[int, doc("tested clips")]
    top1: Annotated[float, doc("share of clips that are right; ties share credit")]
    mean_class: Annotated[float, doc("mean over classes of the share of their clips")]
    chance: Annotated[float, doc("mean class accuracy of a guess among a clip's candidates; 1/K")]
    chance_top1: Annotated[
        float, doc("top-1 accuracy of that guess; the same unless clips differ in K")
    ]
    guesses: Annotated[
        dict[str, dict[str, float]],
        doc("class -> subject -> credit of that guess a clip, where clips differ in K"),
    ] = {}
    majority_class: Annotated[float, doc("share of the most frequent class")]
    tied: Annotated[int, doc("clips whose highest score is shared")]
    cells: Annotated[
        dict[str, dict[str, tuple[float, int]]],
        doc("class -> subject (empty if not known) -> (credit, clips); all numbers follow"),
    ]
    plugins: Annotated[dict[str, float], doc("metrics of other people's plugins")] = {}


class Environment(_Part):
    """Where and with what the run was made."""

    zsar_bench: Annotated[str, doc("version")]
    commit: Annotated[str, doc("git commit of the source tree, empty if installed")]
    dirty: Annotated[bool | None, doc("whether that tree had uncommitted changes, results apart")]
    python: Annotated[str, doc("version")]
    torch: Annotated[str, doc("version")]
    platform: Annotated[str, doc("operating system and processor")]
    device: Annotated[str, doc("cpu or cuda")]
    device_name: Annotated[str, doc("name of the accelerator")]
    threads: Annotated[int, doc("CPU threads of a worker")]
    precision: Annotated[str, doc("float32 or mixed")]
    confinement: Annotated[str, doc("how workers were confined")]


class Seconds(_Part):
    """Wall time of the run's own stages."""

    fit: Annotated[float, doc("all rounds' fits")]
    score: Annotated[float, doc("all rounds' scoring")]


class ConfinementPart(_Part):
    """How a worker was confined before any plugin code ran in it."""

    level: Annotated[
        Literal["landlock", "process"],
        doc("landlock: the kernel refused; process: a process of its own and no more"),
    ]
    abi: Annotated[int, doc("version of the kernel's Landlock; 0 without")]
    files: Annotated[bool, doc("whether files outside its bundle were refused")]
    tcp: Annotated[bool, doc("whether TCP was refused")]
    signals: Annotated[bool, doc("whether signals and abstract sockets outside were refused")]
    system_calls: Annotated[bool, doc("whether system calls were filtered")]
    capabilities: Annotated[bool, doc("whether all capabilities were dropped")]


class Proof(_Part):
    """Result of ``--prove``: a refit without unseen clips, and scores of slightly moved inputs."""

    refit_identical: Annotated[
        bool, doc("whether the fit ended in the same bytes with unseen clips and labels scrambled")
    ]
    jitter: Annotated[float, doc("size of the noise on inputs, as a share of their spread")]
    largest_change: Annotated[float, doc("largest absolute change of a score by that noise")]
    tolerance: Annotated[float, doc("largest change of a continuous method")]
    stable: Annotated[bool, doc("whether the change was within tolerance")]


class Certificate(_Part):
    """What the run's workers could reach, and what its encoders were trained on."""

    confinement: Annotated[
        ConfinementPart, doc("the weakest of all workers that saw its clips or texts")
    ]
    encoder_level: Annotated[
        Literal["landlock", "process", "none"],
        doc("level of the encoder's training; none: released features"),
    ]
    bundles: Annotated[dict[str, str], doc("round -> SHA-256 of everything its fit could read")]
    fitted: Annotated[dict[str, str], doc("round -> SHA-256 of the state that its fit left behind")]
    scored: Annotated[
        dict[str, str], doc("round -> SHA-256 of candidates' texts and clips as sent for scoring")
    ]
    encoder_classes: Annotated[
        dict[str, list[str]], doc("round -> official ids of the classes its encoder was trained on")
    ]
    encoder_clips: Annotated[
        dict[str, str], doc("round -> SHA-256 of the sorted ids of its encoder's training clips")
    ]
    encoder_moved: Annotated[
        float | None,
        doc("largest change of features encoded one clip at a time, as a share of their spread; "
            "null: not checked"),
    ]  # fmt: skip
    denied: Annotated[dict[str, int], doc("'stage: what' -> times that it was refused")]
    leak: Annotated[
        Literal["", "labels"],
        doc("labels: its scoring workers were sent the true classes of the clips; empty: no label "
            "of a test clip left the parent"),
    ] = ""  # fmt: skip
    proof: Annotated[Proof | None, doc("result of --prove; null: not requested")] = None


class Evaluation(_Part):
    """One state of the schedule, scored on the test clips."""

    fraction: Annotated[float, doc("of the schedule after which the state was kept")]
    top1: Annotated[float, doc("top-1 accuracy on the test clips")]
    mean_class: Annotated[float, doc("mean class accuracy on the test clips")]


class Rotation(_Part):
    """One validation: a fit without some of the training clips, and its scores on these."""

    round: Annotated[str, doc("name of the round")]
    held_out: Annotated[
        list[str], doc("subjects (seen-val) or official ids of seen classes (pseudo-unseen)")
    ]
    clips: Annotated[int, doc("training clips that it was scored on")]
    encoder: Annotated[str, doc("key of the skeleton encoder of this validation")]
    accuracies: Annotated[
        list[tuple[float, float]],
        doc("(fraction of the schedule, mean class accuracy) of each state"),
    ]
    best: Annotated[float, doc("fraction of the best state")]


class StateChoice(_Part):
    """How the state that counts was chosen."""

    fractions: Annotated[
        dict[str, float], doc("round -> fraction of the schedule whose state was scored")
    ]
    evaluated: Annotated[int, doc("states that were evaluated")]
    validation: Annotated[list[Rotation], doc("on training clips; empty where none were used")] = []
    curve: Annotated[
        list[Evaluation], doc("oracle only: every evaluation on the test clips, in order")
    ] = []


class GzslNumbers(_Part):
    """S, U, H and related numbers, of top-1 or mean class accuracy; fractions."""

    seen: Annotated[float, doc("S: accuracy of clips of seen classes over all classes")]
    unseen: Annotated[float, doc("U: the same of unseen classes")]
    harmonic: Annotated[float, doc("H = 2SU / (S + U)")]
    ausuc: Annotated[float, doc("area under the curve of S over U, over all constants")]
    oracle_harmonic: Annotated[
        float, doc("chosen on test: highest H that one constant for all rounds reaches")
    ]
    oracle_constant: Annotated[
        float, doc("chosen on test: that constant, subtracted from seen scores")
    ]


class GzslRotation(_Part):
    """One pseudo-unseen split: some seen classes and training subjects were held out."""

    round: Annotated[str, doc("name of the round")]
    held_out: Annotated[list[str], doc("official ids of the seen classes that were pseudo-unseen")]
    subjects: Annotated[list[str], doc("training subjects that were held out")]
    unseen_of: Annotated[
        Literal["validation", "training"],
        doc("whose clips were pseudo-unseen: these subjects', or all training subjects'"),
    ]
    seen_clips: Annotated[int, doc("clips of kept classes by these subjects")]
    unseen_clips: Annotated[int, doc("clips of held-out classes")]
    encoder: Annotated[str, doc("key of its skeleton encoder")]
    training_clips: Annotated[int, doc("of its fit's training clips, those whose margins count")]
    size: Annotated[float, doc("root mean square of these margins; 1 where all are 0")]
    constant: Annotated[float, doc("that gives the best mean class H in the rotation")]
    normalized_constant: Annotated[float, doc("constant / size: what the round takes over")]
    harmonic: Annotated[float, doc("that mean class H")]


class GzslGate(_Part):
    """A fitted gate; see ``zsar_bench.metrics.gate``."""

    k: Annotated[int, doc("softmax values that it reads of each expert")]
    temperature: Annotated[float, doc("of the method's scores, divided by their spread")]
    supervised: Annotated[float, doc("temperature of the encoder's logits")]
    threshold: Annotated[float, doc("probability above which a clip counts as one of a seen class")]
    weights: Annotated[list[float], doc("of k values of the method, then of k of the encoder")]
    bias: Annotated[float, doc("of the logistic regression")]
    harmonic: Annotated[
        float, doc("mean over rotations of the mean class H; it was chosen by this")
    ]


class GzslRound(_Part):
    """The operating point of one round."""

    round: Annotated[str, doc("name of the round")]
    training_clips: Annotated[int, doc("of its fit's training clips, those whose margins count")]
    size: Annotated[float, doc("root mean square of these margins; 1 where all are 0")]
    normalized_constant: Annotated[float, doc("median of that of its rotations")]
    constant: Annotated[
        float, doc("normalized_constant x size: subtracted from seen scores, without a gate")
    ]
    spread: Annotated[float | None, doc("of these clips' unseen scores; null without a gate")]
    gate: Annotated[GzslGate | None, doc("null without a gate")]
    scored: Annotated[
        list[str], doc("SHA-256 of candidates' texts and clips as sent, one for each binding")
    ]


class GzslPart(_Part):
    """Clips of seen and unseen classes scored over all classes."""

    kind: Annotated[Literal["constant", "gate"], doc("how the two sides are balanced")]
    seen_clips: Annotated[int, doc("tested clips of seen classes, by new subjects")]
    unseen_clips: Annotated[int, doc("tested clips of unseen classes")]
    samples: Annotated[str, doc("digest of the sorted ids of all these clips")]
    top1: Annotated[GzslNumbers, doc("S and U as means over clips")]
    mean_class: Annotated[GzslNumbers, doc("S and U as means over classes")]
    rounds: Annotated[list[GzslRound], doc("operating points, round by round")]
    rotations: Annotated[list[GzslRotation], doc("pseudo-unseen splits that they come from")]
    rescoring: Annotated[Rescoring, doc("clips scored again over all classes, one at a time")]
