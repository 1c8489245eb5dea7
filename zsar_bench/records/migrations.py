"""Records of older schemas become records of this one; nothing in them is guessed.

A step adds what its schema brought, with the value that says "not known" or "as it always was".
The number of a schema rises when a record of it could not be read by the release before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

SCHEMA = 3
#: Schema -> the fields that it brought, "part.field" within a part; a record that says nothing in
#: them is one of the schema before, and is written as such: earlier releases read it.
BROUGHT = {3: ("gzsl", "method.leak", "method.tuning", "certificate.leak")}


class NewerSchemaError(ValueError):
    """A record of a schema that this release does not know."""


def migrate(record: Json) -> Json:
    """A record of any schema up to ours in ours; the argument stays as it is.

    Args:
        record: content of a ``run.json``.

    Raises:
        NewerSchemaError: if it was written by a later release.
        ValueError: if its schema has no version, or has fields that came later.
    """
    version = record.get("schema_version")
    if type(version) is not int or version < 1:
        raise ValueError("schema_version: a whole number from 1 on is expected")
    if version > SCHEMA:
        raise NewerSchemaError(f"its schema is {version}, the newest known here is {SCHEMA}")
    for number in range(version, SCHEMA):
        record = _STEPS[number](record) | {"schema_version": number + 1}
    return record


def _certificates(record: Json) -> Json:
    """1 to 2: how workers were walled in, how the state was chosen, and who ran it.

    Schema 1 knew the rule ``last`` only, and had no certificates to show.
    """
    return _added(record, certificate=None, states=None, origin="run")


def _gzsl(record: Json) -> Json:
    """2 to 3: clips of seen classes, judged over all classes; leaks and searches are marked."""
    for name in BROUGHT[3]:
        part, _, field = name.rpartition(".")
        if part and isinstance(record.get(part), dict) and field in record[part]:
            raise ValueError(f"{name}: schema {record['schema_version']} has no such field")
    return _added(record, gzsl=None)


def _added(record: Json, **fields: Any) -> Json:
    """The record with new fields, which it cannot have had.

    Taking over what an old record says in them would let it vouch for itself.
    """
    early = sorted(record.keys() & fields)
    if early:
        raise ValueError(f"{early[0]}: schema {record['schema_version']} has no such field")
    return record | fields


_STEPS: dict[int, Callable[[Json], Json]] = {1: _certificates, 2: _gzsl}
