"""What a run leaves behind: ``run.json``, every field documented, and one score matrix.

A run's folder is sealed when it is complete: a record whose files are not as the run left them is
refused with its name. The first runs have no seal; their metrics must follow from their
predictions wherever these are read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zsar_bench import seals
from zsar_bench.errors import UserError
from zsar_bench.paths import write_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCHEMA = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _doc(meaning: str) -> Any:
    return Field(description=meaning)


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


class MethodPart(_Part):
    """The method and its parameters."""

    name: Annotated[str, _doc("method id")]
    plugin: Annotated[str, _doc("plugin that registered it")]
    digest: Annotated[str, _doc("SHA-256 of its code, comments apart")]
    profile: Annotated[str, _doc("named profile the parameters start from")]
    science: Annotated[dict[str, Any], _doc("parameters that are part of the identity")]
    runtime: Annotated[dict[str, Any], _doc("parameters that are not")]
    hp: Annotated[str, _doc("where the hyper-parameters come from")]
    declared_setting: Annotated[str, _doc("setting the plugin declares")]
    setting: Annotated[
        Literal["inductive", "class-transductive", "transductive"],
        _doc("setting after the re-scoring check; the one it is ranked in"),
    ]


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
        Literal["certified", "declared", "released"],
        _doc("certified: trained here, on seen classes only; released: features of others"),
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


class Record(_Part):
    """``run.json``."""

    schema_version: Annotated[int, _doc("version of this schema")] = SCHEMA
    run_id: Annotated[str, _doc("digest of ``identity``, 16 hex digits")]
    identity: Annotated[dict[str, Any], _doc("everything that can change a score")]
    created: Annotated[str, _doc("UTC, ISO 8601")]
    protocol: Annotated[ProtocolPart, _doc("what was tested, on which samples")]
    method: Annotated[MethodPart, _doc("the method and its parameters")]
    encoder: Annotated[EncoderPart, _doc("the skeleton encoder")]
    texts: Annotated[TextPart, _doc("class texts and their encoder")]
    encoder_seed: Annotated[int, _doc("seed of the skeleton encoder; 0 for released features")]
    method_seed: Annotated[int, _doc("seed of the method")]
    selection: Annotated[str, _doc("rule that chose the checkpoint")]
    metrics: Annotated[Metrics, _doc("numbers computed from the stored score matrix")]
    rescoring: Annotated[Rescoring, _doc("clips scored again one at a time in another order")]
    choices: Annotated[list[Choice], _doc("what nobody named, and why it was taken")]
    environment: Annotated[Environment, _doc("where and with what the run was made")]
    seconds: Annotated[Seconds, _doc("wall time of the run's own stages")]


def seal_run(folder: Path) -> None:
    """Seal the files of a run; the last thing that is written before it gets its name."""
    seals.seal(folder, deep=False)


def check_run(folder: Path) -> None:
    """Refuse a run whose files are not as they were sealed; what somebody has added is let be.

    Raises:
        Damaged: naming the file.
    """
    if seals.sealed(folder):
        hint = f"To make it again, delete the folder {folder} and type the run's command."
        seals.check(folder, hint=hint, added=False)


def read_record(folder: Path) -> Record:
    """The record of a finished run.

    Raises:
        UserError: naming the file, if it does not follow the schema or the seal.
    """
    check_run(folder)
    path = folder / "run.json"
    try:
        return Record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"]) or "the file"
        raise UserError(f"{path} is damaged: {where}: {first['msg']}.") from None


def write_predictions(
    path: Path,
    ids: list[str],
    labels: NDArray[np.int64],
    candidates: list[str],
    scores: NDArray[np.float32],
) -> None:
    """Store one prediction a sample.

    Args:
        path: file to write.
        ids: N sample ids.
        labels: (N,) index of the true class in ``candidates``.
        candidates: K official class ids.
        scores: (N, K); NaN where a class was no candidate of a clip.
    """
    import json

    from safetensors.numpy import save

    metadata = {"ids": json.dumps(ids), "candidates": json.dumps(candidates)}
    blob = save({"labels": labels, "scores": scores}, metadata=metadata)
    write_bytes(path, _sorted_header(blob))


def _sorted_header(blob: bytes) -> bytes:
    """The same safetensors file with its header in one order: the library's order of metadata
    is random, and equal runs must leave equal bytes."""
    import json

    size = int.from_bytes(blob[:8], "little")
    header = json.dumps(json.loads(blob[8 : 8 + size]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # tensors stay aligned
    return len(header).to_bytes(8, "little") + header + blob[8 + size :]


def read_predictions(
    path: Path,
) -> tuple[list[str], NDArray[np.int64], list[str], NDArray[np.float32]]:
    """What ``write_predictions`` stored, in its order of arguments.

    Raises:
        UserError: naming the file, if it is damaged; in the folder of a run, also if it is not as
            the run left it.
    """
    import json

    from safetensors import SafetensorError, safe_open

    check_run(path.parent)

    try:
        with safe_open(path, framework="np") as f:
            about = f.metadata()
            ids, candidates = json.loads(about["ids"]), json.loads(about["candidates"])
            labels, scores = f.get_tensor("labels"), f.get_tensor("scores")
    # An AttributeError is of a type that numpy does not have, such as float8.
    except (
        SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError, AttributeError,
    ) as error:  # fmt: skip
        raise UserError(f"{path} is damaged: {error}.") from None
    lists = all(
        isinstance(x, list) and all(isinstance(i, str) for i in x) for x in (ids, candidates)
    )
    if (
        not lists
        or (labels.dtype.str, scores.dtype.str) != ("<i8", "<f4")
        or labels.shape != (len(ids),)
        or scores.shape != (len(ids), len(candidates))
        or ((labels < 0) | (labels >= len(candidates))).any()
    ):
        raise UserError(f"{path} is damaged: its ids, labels, candidates and scores disagree.")
    if (path.parent / "run.json").is_file() and not seals.sealed(path.parent):
        from zsar_bench.follows import check_metrics

        check_metrics(path, read_record(path.parent), ids, labels, candidates, scores)
    return ids, labels, candidates, scores
