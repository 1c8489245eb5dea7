"""Records of older schemas: they stay readable, and cannot vouch for what they never held."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsar_bench.compare.sections import compare
from zsar_bench.errors import UserError
from zsar_bench.records.files import find_records, load_records, read_record
from zsar_bench.records.migrations import SCHEMA, NewerSchemaError, migrate
from zsar_bench.records.schema import Record, parse_record, record_bytes

ROOT = Path(__file__).parents[1]
#: A record as a release of schema 1 wrote it. Never write it anew: strangers have such files.
PINNED = (Path(__file__).parent / "records" / "schema-1.json").read_bytes()
#: Field -> schema that brought it, and its value in older records.
BROUGHT_BY = {"certificate": 2, "states": 2, "origin": 2, "gzsl": 3}
NEW = {"certificate": None, "states": None, "origin": "run", "gzsl": None}


def pinned() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(PINNED)
    return value


def test_the_pinned_record_reads_and_keeps_all_it_said() -> None:
    assert pinned()["schema_version"] == 1
    one = parse_record(PINNED)
    assert one.schema_version == SCHEMA == 3
    assert (one.certificate, one.states, one.origin) == (None, None, "run")
    back = json.loads(one.model_dump_json(exclude_unset=True))
    for field, value in pinned().items():
        if field != "schema_version":
            assert back[field] == value, field
    assert back.keys() - pinned().keys() == NEW.keys()


def test_committed_reference_records_of_every_schema_read() -> None:
    folders = find_records(ROOT / "results" / "reference")
    assert len(folders) >= 360
    records, damaged = load_records(folders)
    assert damaged == []
    assert len(records) == len(folders)


def test_a_record_of_today_comes_back_as_it_was(tmp_path: Path) -> None:
    one = parse_record(PINNED)
    (tmp_path / "run.json").write_text(one.model_dump_json())
    assert read_record(tmp_path) == one
    assert json.loads((tmp_path / "run.json").read_bytes())["schema_version"] == SCHEMA


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.integers(1, SCHEMA), st.dictionaries(st.text().filter(lambda k: k not in NEW), values))
def test_migration_is_idempotent_and_leaves_its_argument(
    version: int, fields: dict[str, Any]
) -> None:
    later = {k: v for k, v in NEW.items() if BROUGHT_BY[k] <= version}
    before = {**fields, **later, "schema_version": version}
    kept = copy.deepcopy(before)
    once = migrate(before)
    assert before == kept
    assert migrate(once) == once
    assert once["schema_version"] == SCHEMA
    # Nothing is lost or made up: what was there is there, what is new is what NEW says.
    assert {k: v for k, v in once.items() if k not in NEW} == {
        **{k: v for k, v in fields.items() if k != "schema_version"},
        "schema_version": SCHEMA,
    }
    assert {k: once[k] for k in NEW} == NEW


@pytest.mark.parametrize("field", NEW)
def test_an_old_record_with_later_fields_is_damaged(field: str, tmp_path: Path) -> None:
    """Or a hand could write a certificate under a schema that had none to check."""
    about = pinned() | {field: NEW[field]}
    (tmp_path / "run.json").write_text(json.dumps(about))
    with pytest.raises(
        UserError,
        match=rf"run\.json is damaged: {field}: schema {BROUGHT_BY[field] - 1} has no such",
    ):
        read_record(tmp_path)


@pytest.mark.parametrize(("field", "value"), [("leak", ""), ("leak", "labels"), ("tuning", None)])
def test_a_part_of_an_old_record_with_later_fields_is_damaged(field: str, value: Any) -> None:
    about = pinned()
    about["method"][field] = value
    with pytest.raises(ValueError, match=rf"method\.{field}: schema 2 has no such field"):
        parse_record(json.dumps(about).encode())


def test_a_record_is_written_in_the_oldest_schema_that_holds_it(tmp_path: Path) -> None:
    """So that what says nothing new is read by earlier releases, to the byte as they wrote it."""
    one = parse_record(PINNED)
    written = json.loads(record_bytes(one))
    unsaid = {"gzsl": True, "method": {"leak", "tuning"}}
    assert written == json.loads(one.model_dump_json(exclude=unsaid)) | {"schema_version": 2}
    leaks = one.model_copy(update={"method": one.method.model_copy(update={"leak": "labels"})})
    assert json.loads(record_bytes(leaks))["schema_version"] == 3
    assert json.loads(record_bytes(leaks))["method"]["leak"] == "labels"
    (tmp_path / "run.json").write_bytes(record_bytes(one))
    assert read_record(tmp_path) == one
    committed = [f / "run.json" for f in find_records(ROOT / "results" / "reference")]
    latest = [f for f in committed if json.loads(f.read_bytes())["schema_version"] == 2]
    assert latest
    for path in latest[:20]:
        assert record_bytes(parse_record(path.read_bytes())) == path.read_bytes()


@pytest.mark.parametrize("version", [0, -1, True, "1", 1.0, None])
def test_a_version_that_is_none_is_damaged(version: Any) -> None:
    with pytest.raises(ValueError, match="schema_version: a whole number"):
        parse_record(json.dumps(pinned() | {"schema_version": version}).encode())
    bare = pinned()
    del bare["schema_version"]
    with pytest.raises(ValueError, match="schema_version: a whole number"):
        parse_record(json.dumps(bare).encode())


def test_a_newer_schema_is_refused_and_says_to_update(tmp_path: Path) -> None:
    later = {"schema_version": SCHEMA + 1, "everything": "else"}
    with pytest.raises(NewerSchemaError):
        migrate(later)
    (tmp_path / "run.json").write_text(json.dumps(later))
    with pytest.raises(UserError) as refused:
        read_record(tmp_path)
    assert "later zsar-bench" in refused.value.what
    assert "update zsar-bench" in refused.value.what
    assert "damaged" not in refused.value.what
    assert load_records([tmp_path]) == ([], [refused.value.what])


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b"{", b"[" * 100_000, b"\xff", b"null"])
def test_what_is_no_record_at_all(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"the file"):
        parse_record(data)


def test_a_migrated_record_ranks_beside_new_ones() -> None:
    old = parse_record(PINNED)
    new = Record.model_validate(json.loads(old.model_dump_json()) | {"method_seed": 7})
    (section,) = compare([old, new])["sections"]
    assert section["rows"][0]["seeds"] == 2
