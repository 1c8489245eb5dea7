"""What a run leaves behind: ``run.json``, every field documented, and one score matrix.

A run's folder is sealed when it is complete: a record whose files are not as the run left them is
refused with its name. The first runs have no seal; their metrics must follow from their
predictions wherever these are read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ValidationError

from zsar_bench import seals
from zsar_bench.certificate import (
    STRICT,
    Certificate,
    Evaluation,
    Proof,
    Rotation,
    StateChoice,
    WallsPart,
)
from zsar_bench.certificate import doc as _doc
from zsar_bench.errors import UserError
from zsar_bench.gzsl_record import GzslGate, GzslNumbers, GzslPart, GzslRotation, GzslRound
from zsar_bench.migrations import BROUGHT, SCHEMA, NewerSchemaError, migrate
from zsar_bench.names import fault_in_record, protocol_folder
from zsar_bench.paths import write_bytes
from zsar_bench.record_parts import (
    Choice,
    EncoderPart,
    EncoderRound,
    Environment,
    MethodPart,
    Metrics,
    ProtocolPart,
    Released,
    Rescoring,
    Seconds,
    TextPart,
    TuningPart,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [  # all models of a record are found here, wherever they are written
    "SCHEMA",
    "Certificate",
    "Choice",
    "EncoderPart",
    "EncoderRound",
    "Environment",
    "Evaluation",
    "GzslGate",
    "GzslNumbers",
    "GzslPart",
    "GzslRotation",
    "GzslRound",
    "MethodPart",
    "Metrics",
    "Proof",
    "ProtocolPart",
    "Record",
    "Released",
    "Rescoring",
    "Rotation",
    "Seconds",
    "StateChoice",
    "TextPart",
    "TuningPart",
    "WallsPart",
    "check_run",
    "parse_record",
    "read_predictions",
    "read_record",
    "record_bytes",
    "seal_run",
    "write_predictions",
]


class Record(BaseModel):
    """``run.json``."""

    model_config = STRICT

    schema_version: Annotated[int, _doc("version of this schema")] = SCHEMA
    run_id: Annotated[str, _doc("digest of ``identity``, 16 hex digits")]
    identity: Annotated[dict[str, Any], _doc("everything that can change a score")]
    created: Annotated[str, _doc("UTC, ISO 8601")]
    protocol: Annotated[ProtocolPart, _doc("what was tested, on which samples")]
    method: Annotated[MethodPart, _doc("the method and its parameters")]
    encoder: Annotated[EncoderPart, _doc("the skeleton encoder")]
    texts: Annotated[TextPart, _doc("class texts and their encoder")]
    encoder_seed: Annotated[int, _doc("seed of the skeleton encoder; 0 where there is none")]
    method_seed: Annotated[int, _doc("seed of the method; 0 where it is not known")]
    selection: Annotated[str, _doc("rule that chose the checkpoint, or unknown")]
    metrics: Annotated[Metrics, _doc("numbers computed from the stored score matrix")]
    rescoring: Annotated[Rescoring, _doc("clips scored again one at a time in another order")]
    choices: Annotated[list[Choice], _doc("what nobody named, and why it was taken")]
    environment: Annotated[Environment, _doc("where and with what the run was made, or judged")]
    seconds: Annotated[Seconds, _doc("wall time of the run's own stages; 0 where not known")]
    origin: Annotated[
        Literal["run", "self-reported"], _doc("self-reported: only its scores were judged here")
    ] = "run"
    states: Annotated[
        StateChoice | None, _doc("how the state was chosen; null: the last, nothing to choose")
    ] = None
    certificate: Annotated[
        Certificate | None, _doc("what its workers could reach; null: made before certificates")
    ] = None
    gzsl: Annotated[
        GzslPart | None, _doc("clips of all classes over all classes; null: not asked for")
    ] = None


def place_of(record: Record) -> Path:
    """Where a run belongs below ``runs``."""
    return Path(protocol_folder(record.protocol.id)) / record.method.name / record.run_id


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
        UserError: naming the file, if it does not follow its schema or its seal, or a later
            release wrote it.
    """
    check_run(folder)
    path = folder / "run.json"
    try:
        record = parse_record(path.read_bytes())
        # Versions that sealed nothing made no certificate either.
        if record.certificate is not None and not seals.sealed(folder):
            raise ValueError(f"its {seals.SEAL} is missing")
        return record
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from None
    except NewerSchemaError as error:
        what = f"{path} was written by a later zsar-bench ({error}): update zsar-bench to read it."
        raise UserError(what) from None
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}.") from None


def parse_record(data: bytes) -> Record:
    """A ``run.json`` of any schema up to ours.

    Raises:
        NewerSchemaError: if a later release wrote it.
        ValueError: in a sentence that names the field, if it does not follow its schema or
            has a name that could not be a path's part.
    """
    from pydantic_core import from_json

    try:
        value = from_json(data)
    except ValueError as error:
        raise ValueError(f"the file: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("the file: an object is expected")
    try:
        record = Record.model_validate(migrate(value))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"]) or "the file"
        raise ValueError(f"{where}: {first['msg']}") from None
    fault = fault_in_record(record)
    if fault:
        raise ValueError(fault)
    return record


def record_bytes(record: Record) -> bytes:
    """A record as ``run.json``, in the oldest schema that holds all it says."""
    version = SCHEMA
    unsaid: dict[str, Any] = {}
    while version in BROUGHT and not any(_said(record, name) for name in BROUGHT[version]):
        for name in BROUGHT[version]:
            part, _, field = name.rpartition(".")
            if part and getattr(record, part) is not None:
                unsaid.setdefault(part, {})[field] = True
            elif not part:
                unsaid[field] = True
        version -= 1
    older = record.model_copy(update={"schema_version": version})
    return older.model_dump_json(indent=1, exclude=unsaid).encode() + b"\n"


def _said(record: Record, name: str) -> bool:
    """Whether a field, "part.field" within a part, says anything."""
    value: Any = record
    for step in name.split("."):
        value = None if value is None else getattr(value, step)
    return value not in (None, "")


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
    write_bytes(path, sorted_header(blob))


def sorted_header(blob: bytes) -> bytes:
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
