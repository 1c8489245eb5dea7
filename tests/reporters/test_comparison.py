"""The typed face of a comparison: every field that is compared, and nothing else."""

from __future__ import annotations

from dataclasses import fields

import pytest

from kit.made_records import BEST, FAR, exactly, record
from zsar_bench.catalogue.catalogue import Catalogue
from zsar_bench.comparison.sections import compare
from zsar_bench.reporters.comparison import Comparison, Interval, Row, Section


@pytest.fixture
def two() -> Comparison:
    records = [record(exactly(FAR), "far"), record(exactly(BEST), "best")]
    return Comparison(compare(records), Catalogue({}, []))


def test_fields_are_the_keys(two: Comparison) -> None:
    (data,) = two.data["sections"]
    assert {f.name for f in fields(Section)} == {*data}
    assert {f.name for f in fields(Row)} == {*data["rows"][0]}


def test_rows_say_what_the_json_says(two: Comparison) -> None:
    (section,) = two.sections
    assert [row.method for row in section.rows] == ["best", "far"]
    for row, data in zip(section.rows, two.data["sections"][0]["rows"], strict=True):
        assert row.top1 == data["top1"]
        assert isinstance(row.interval, Interval)
        assert vars(row.interval) == data["interval"]
    assert section.rows[0].best
    assert not section.rows[1].best


def test_every_field_is_documented() -> None:
    for kind in (Row, Section):
        told = (kind.__doc__ or "").split("Attributes:")[1]
        for field in fields(kind):
            assert field.name in told, field.name
