"""The record of a run: ``run.json``, every field documented.

The folder of a complete run is sealed: a record whose files have changed is refused. The first
runs have no seal; their metrics must follow from their predictions wherever these are read.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from zsar_bench.common.names import (
    LONGEST_PART,
    NAME,
    PLAIN,
    PROTOCOL,
    RULE,
    RUN_ID,
    WORD,
)
from zsar_bench.records.parts import (
    STRICT,
    Certificate,
    Choice,
    EncoderPart,
    Environment,
    GzslPart,
    MethodPart,
    Metrics,
    ProtocolPart,
    Rescoring,
    Seconds,
    StateChoice,
    TextPart,
)
from zsar_bench.records.parts import doc as _doc

SCHEMA = 1  #: rises when the release before could not read a record


class NewerSchemaError(ValueError):
    """A record of a schema that this release does not know."""


class Record(BaseModel):
    """``run.json``."""

    model_config = STRICT

    schema_version: Annotated[int, Field(strict=True, description="version of this schema")] = (
        SCHEMA
    )
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
    choices: Annotated[
        list[Choice], _doc("values that the user left open, and why they were chosen")
    ]
    environment: Annotated[Environment, _doc("where and with what the run was made, or scored")]
    seconds: Annotated[Seconds, _doc("wall time of the run's own stages; 0 where not known")]
    origin: Annotated[
        Literal["run", "self-reported"], _doc("self-reported: only its scores are known")
    ] = "run"
    states: Annotated[StateChoice | None, _doc("how the state was chosen; null: the last one")] = (
        None
    )
    certificate: Annotated[
        Certificate | None, _doc("what its workers could reach; null: self-reported")
    ] = None
    gzsl: Annotated[
        GzslPart | None, _doc("clips of all classes over all classes; null: not requested")
    ] = None


def parse_record(data: bytes) -> Record:
    """A record from the bytes of its ``run.json``.

    Raises:
        NewerSchemaError: if a later release wrote it.
        ValueError: naming the field, if it does not follow its schema, or if a name could not be
            part of a path.
    """
    try:
        record = Record.model_validate_json(data)
        known = 1 <= record.schema_version <= SCHEMA
        known = known and "schema_version" in record.model_fields_set
    except ValueError:
        known = False
    if not known:
        record = _checked(data)
    fault = fault_in_record(record)
    if fault:
        raise ValueError(fault)
    return record


def _checked(data: bytes) -> Record:
    """The same step by step, which takes twice as long: says what is wrong."""
    from pydantic_core import from_json

    try:
        value = from_json(data)
    except ValueError as error:
        raise ValueError(f"the file: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("the file: an object is expected")
    version = value.get("schema_version")
    if type(version) is not int or version < 1:
        raise ValueError("schema_version: a whole number from 1 on is expected")
    if version > SCHEMA:
        raise NewerSchemaError(f"its schema is {version}, the newest known here is {SCHEMA}")
    try:
        return Record.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"]) or "the file"
        raise ValueError(f"{where}: {first['msg']}") from None


def record_bytes(record: Record) -> bytes:
    """A record as ``run.json``."""
    return record.model_dump_json(indent=1).encode() + b"\n"


def fault_in_record(r: Record) -> str:
    """What is wrong with a record's names, with the field; empty if nothing.

    A record may be untrusted input, and its names become paths. Its other texts are made plain
    where they are shown.
    """
    for where, pattern, name in _names(r):
        if not _matches(pattern, name):
            return f"{where}: {name[:80]!r} is no such name ({pattern.pattern})"
    if len(r.protocol.id) > LONGEST_PART:
        return f"protocol.id: it has {len(r.protocol.id)} characters"
    return ""


@functools.lru_cache(maxsize=65536)  # runs share their classes and subjects
def _matches(pattern: re.Pattern[str], name: str) -> bool:
    return pattern.fullmatch(name) is not None


def _names(r: Record) -> Iterator[tuple[str, re.Pattern[str], str]]:
    """Field, pattern and value of every name in a record."""
    yield "run_id", RUN_ID, r.run_id
    yield "protocol.id", PROTOCOL, r.protocol.id
    yield "protocol.dataset", NAME, r.protocol.dataset
    yield "method.name", NAME, r.method.name
    yield "encoder.name", NAME, r.encoder.name
    yield "texts.encoder", NAME, r.texts.encoder
    yield "selection", RULE, r.selection
    yield "protocol.rule", RULE, r.protocol.rule
    if r.protocol.stand_in_for:
        yield "protocol.stand_in_for", NAME, r.protocol.stand_in_for
    if r.protocol.family_of:
        yield "protocol.family_of", PROTOCOL, r.protocol.family_of
    if r.texts.control:
        yield "texts.control", NAME, r.texts.control
    folds = [c for fold in r.protocol.folds for c in fold]
    for class_id in (*r.protocol.seen, *r.protocol.unseen, *folds, *r.metrics.cells):
        yield "a class", PLAIN, class_id
    for table in (r.metrics.cells, r.metrics.guesses):
        for subject in {p for row in table.values() for p in row}:
            if subject:
                yield "a subject", PLAIN, subject
    for word in r.texts.fields:
        yield "a text field", WORD, word
    for name in r.metrics.plugins:
        yield "metrics.plugins", NAME, name
