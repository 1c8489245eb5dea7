"""Parameters from defaults, profile and ``--set``, checked without plugin code."""

from __future__ import annotations

import re
from typing import Any, Literal

import pytest

from zsar_bench.catalogue.catalogue import Entry
from zsar_bench.catalogue.settings import Assignment, check_owners, resolve
from zsar_bench.errors import UserError
from zsar_bench.params import Params, runtime, science


class Example(Params):
    """One parameter of every type that plugins use."""

    profiles = {  # noqa: RUF012 - a ClassVar of the base
        "paper": {"width": 768},
        "laptop": {"width": 64, "widths": [8, 8]},
    }

    width: int = science(512, "channels of the network", ge=8, le=4096, multiple_of=8)
    lr: float = science(1e-3, "learning rate", gt=0, lt=1)
    scale: float = science(1.0, "factor")
    widths: tuple[int, ...] = science((16, 32), "width of each unit")
    loss: Literal["both", "one"] = science("both", "terms of the loss")
    name: str = science("a model", "which model", min_length=1)
    amp: bool = science(True, "mixed precision")
    limit: int | None = science(None, "at most so many")
    batch: int = runtime(1024, "rows at once", ge=1)


def entry(name: str = "example", kind: str = "methods") -> Entry:
    """As the discovery child describes it."""
    return Entry(
        kind=kind,
        name=name,
        plugin="p",
        digest="d",
        spec={},
        schema=Example.model_json_schema(),
        profiles=Example.profiles,
    )


def settings(*texts: str, profile: str = "laptop", **of: Any):
    return resolve(entry(**of), profile, [Assignment.parse(t) for t in texts])


def refused(*texts: str) -> UserError:
    with pytest.raises(UserError) as error:
        settings(*texts)
    assert "zsar-bench show example" in error.value.hint
    return error.value


def test_defaults_then_profile_then_assignments():
    assert settings(profile="paper").values["width"] == 768
    assert settings(profile="laptop").values["width"] == 64
    assert settings("width=128", profile="paper").values["width"] == 128
    assert settings("width=128", "width=256").values["width"] == 256, "the last one counts"
    assert settings(profile="laptop").values["lr"] == 1e-3


def test_the_profile_tells_what_was_changed_in_it():
    assert settings().profile == "laptop"
    assert settings("width=64").profile == "laptop", "the profile's own value"
    assert settings("batch=8").profile == "laptop", "no effect on results"
    assert settings("width=128", "lr=0.5").profile == "laptop (width=128, lr=0.5)"


def test_a_profile_the_plugin_lacks_is_its_published_setting():
    found = settings(profile="cluster")
    assert (found.profile, found.values["width"]) == ("paper", 768)


def test_science_and_runtime_are_kept_apart():
    found = settings("batch=7")
    assert found.runtime == {"batch": 7}
    assert set(found.science) == set(Example.model_fields) - {"batch"}
    assert found.values == found.science | found.runtime


def test_published_means_the_papers_science_whatever_the_runtime():
    assert settings(profile="paper").published
    assert settings("batch=7", profile="paper").published
    assert not settings("lr=0.5", profile="paper").published
    assert not settings(profile="laptop").published
    assert settings("width=768", "widths=[16,32]", profile="laptop").published


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("width=128", 128),
        ("width=1e3", 1000),
        ("width=128.0", 128),
        ("scale=2", 2.0),
        ("lr=1e-4", 1e-4),
        ("lr=.5", 0.5),
        ("widths=[1, 2, 3]", [1, 2, 3]),
        ("widths=[]", []),
        ("loss=one", "one"),
        ("name=12", "12"),
        ("name=org/model=x", "org/model=x"),
        ("amp=false", False),
        ("amp=False", False),
        ("limit=3", 3),
        ("limit=null", None),
        ("limit=None", None),
    ],
)
def test_values_are_read_as_the_parameters_type(text, value):
    found = settings(text).values[text.partition("=")[0]]
    assert (found, type(found)) == (value, type(value))
    Example(**settings(text).values)  # and the plugin's class takes them


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("width=4", "minimum of 8"),
        ("width=8192", "maximum of 4096"),
        ("width=12", "multiple of 8"),
        ("lr=0", "greater than or equal to the minimum|less than or equal to the minimum of 0"),
        ("lr=1", "maximum of 1"),
        ("width=wide", "'wide' is not of type 'integer'"),
        ("batch=1.5", "1.5 is not of type 'integer'"),
        ("width=", "'' is not of type 'integer'"),
        ("lr=[1]", r"\[1\] is not of type 'number'"),
        ("widths=3", "3 is not of type 'array'"),
        ('widths=[1,"a"]', "'a' is not of type 'integer'"),
        ("loss=three", r"is not one of \['both', 'one'\]"),
        ("name=", "too short|non-empty"),
        ("amp=1", "1 is not of type 'boolean'"),
        ("lr=nan", "'nan' is not of type 'number'"),
        ("lr=NaN", "'NaN' is not of type 'number'"),
        ("lr=Infinity", "'Infinity' is not of type 'number'"),
        ("lr=1e999", "'1e999' is not of type 'number'"),
        ("widths=[NaN]", "is not of type 'array'"),
        ("batch=0", "minimum of 1"),
    ],
)
def test_wrong_types_and_values_out_of_range_are_refused(text, reason):
    error = refused(text)
    key = text.partition("=")[0]
    assert error.what.startswith(f"example: parameter {key} = ")
    assert re.search(reason, error.what), error.what
    assert f"{key} is: {Example.model_fields[key].description}." in error.hint


def test_an_unknown_key_lists_the_valid_ones_and_suggests_the_nearest():
    error = refused("widht=128")
    assert error.what == "The method 'example' has no parameter 'widht'."
    assert "Did you mean width" in error.hint
    assert "Valid: amp, batch, limit, loss, lr, name, scale, width, widths." in error.hint
    assert "Did you mean" not in refused("zzzzzzz=1").hint


@pytest.mark.parametrize("text", ["width", "=3", "", "example.=3", "  =x"])
def test_what_is_not_key_value_is_refused(text):
    with pytest.raises(UserError, match="is not KEY=VALUE") as error:
        Assignment.parse(text)
    assert "--set NAME.width=128" in error.value.hint


def test_an_assignment_is_parsed():
    assert Assignment.parse("width=1") == Assignment("", "width", "1")
    assert Assignment.parse(" st-gcn.lr = 0.1 ") == Assignment("st-gcn", "lr", "0.1")
    assert Assignment.parse("a.b.key=x") == Assignment("a.b", "key", "x")
    assert Assignment.parse("key=a.b=c") == Assignment("", "key", "a.b=c")


def test_assignments_concern_their_owner_or_the_methods():
    assert settings("width=128", kind="text_encoders").values["width"] == 64
    assert settings("example.width=128", kind="text_encoders").values["width"] == 128
    assert settings("other.width=128").values["width"] == 64
    check_owners([Assignment.parse("example.width=1"), Assignment.parse("width=1")], [entry()])
    with pytest.raises(UserError, match="Unknown name in --set 'exmaple'") as error:
        check_owners([Assignment.parse("exmaple.width=1")], [entry(), entry("other")])
    assert "Did you mean example" in error.value.hint


def test_a_plugin_without_parameters_takes_none():
    bare = Entry("methods", "bare", "p", "d", {}, {"properties": {}, "type": "object"}, {})
    assert resolve(bare, "laptop", []).values == {}
    with pytest.raises(UserError) as error:
        resolve(bare, "laptop", [Assignment.parse("x=1")])
    assert "Valid: none" in error.value.hint
