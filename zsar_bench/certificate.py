"""What a record says about trust: how its workers were walled in, and how its state was chosen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

#: Levels of confinement, weakest first: scores that were made elsewhere; what nobody noted; a
#: process of its own; the kernel.
LEVELS = ("unconfined", "unknown", "process", "landlock")


def weakest_level(levels: Iterable[str]) -> Any:
    """The weakest of some levels; ``none``, where nothing was made, only if there is no other."""
    return min({*levels} - {"none"}, key=LEVELS.index, default="none")


#: Of every model in a record: no fields that the schema does not know, none changed afterwards.
STRICT = ConfigDict(extra="forbid", frozen=True)


class _Part(BaseModel):
    model_config = STRICT


def doc(meaning: str) -> Any:
    """What a field of a record means."""
    return Field(description=meaning)


class WallsPart(_Part):
    """What stood around a worker before any code of a plugin ran in it."""

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
    """What ``--prove`` found: a refit without unseen clips, and inputs moved by a little."""

    refit_identical: Annotated[
        bool, doc("whether the fit ended in the same bytes with unseen clips and labels scrambled")
    ]
    jitter: Annotated[float, doc("size of the noise on inputs, as a share of their spread")]
    largest_change: Annotated[float, doc("largest absolute change of a score by that noise")]
    tolerance: Annotated[float, doc("largest change taken for a continuous method's")]
    stable: Annotated[bool, doc("whether the change was within tolerance")]


class Certificate(_Part):
    """What the run's workers could reach, and what its encoders were trained on."""

    walls: Annotated[WallsPart, doc("the weakest of all workers that saw its clips or texts")]
    encoder_level: Annotated[
        Literal["landlock", "process", "unknown", "none"],
        doc("level of the encoder's training; unknown: an older cache; none: released features"),
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
    proof: Annotated[Proof | None, doc("what --prove found; null: it was not asked for")] = None


class Evaluation(_Part):
    """One state of the schedule, scored on the test clips."""

    fraction: Annotated[float, doc("of the schedule after which the state was kept")]
    micro: Annotated[float, doc("micro accuracy on the test clips")]
    macro: Annotated[float, doc("macro accuracy on the test clips")]


class Rotation(_Part):
    """One validation: a fit that held something out of the training clips, and its scores."""

    round: Annotated[str, doc("name of the round")]
    held_out: Annotated[
        list[str], doc("performers (seen-val) or official ids of seen classes (pseudo-unseen)")
    ]
    clips: Annotated[int, doc("training clips that it was scored on")]
    encoder: Annotated[str, doc("key of the skeleton encoder of this validation")]
    accuracies: Annotated[
        list[tuple[float, float]], doc("(fraction of the schedule, macro accuracy) of each state")
    ]
    best: Annotated[float, doc("fraction of the best state")]


class StateChoice(_Part):
    """How the state that counts was chosen."""

    fractions: Annotated[
        dict[str, float], doc("round -> fraction of the schedule whose state was scored")
    ]
    evaluated: Annotated[int, doc("states that were looked at")]
    validation: Annotated[list[Rotation], doc("on training clips; empty where none were used")] = []
    curve: Annotated[
        list[Evaluation], doc("oracle only: every evaluation on the test clips, in order")
    ] = []
