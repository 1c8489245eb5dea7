"""Parameters on the parent's side: checked against the catalogue's schemas, without plugin code."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zsar_bench.catalogue.catalogue import Entry
from zsar_bench.catalogue.machine import Machine
from zsar_bench.errors import UserError, nearest, unknown
from zsar_bench.registry import KINDS
from zsar_bench.sandbox.client import run_job


@dataclass(frozen=True)
class Settings:
    """Resolved parameters of one plugin class.

    Attributes:
        profile: name of the profile, with the changed parameters in parentheses.
        science: parameters that are part of a run's identity.
        runtime: parameters that are not.
        published: whether the science parameters are those of the ``paper`` profile.
    """

    profile: str
    science: dict[str, Any]
    runtime: dict[str, Any]
    published: bool = True

    @property
    def values(self) -> dict[str, Any]:
        """All parameters, as the plugin's class takes them."""
        return self.science | self.runtime


@dataclass(frozen=True)
class Assignment:
    """One ``--set [NAME.]KEY=VALUE``; without a name it applies to the methods."""

    owner: str
    key: str
    text: str

    @classmethod
    def parse(cls, text: str) -> Assignment:
        """Read one ``--set``."""
        left, equals, value = text.partition("=")
        owner, _, key = left.strip().rpartition(".")
        if not equals or not key:
            raise UserError(
                f"--set {text!r} is not KEY=VALUE.",
                "For example: --set width=128, or --set NAME.width=128",
            )
        return cls(owner, key, value.strip())

    @classmethod
    def of(cls, name: str, value: Any) -> Assignment:
        """The same from Python: ``KEY`` or ``NAME.KEY``, and a value of the parameter's type."""
        owner, _, key = name.rpartition(".")
        return cls(owner, key, value if isinstance(value, str) else json.dumps(value))

    def for_owner(self, owner: str) -> Assignment:
        """The same, meant for this plugin unless it names another."""
        return replace(self, owner=self.owner or owner)


def resolve(entry: Entry, profile: str, assignments: Iterable[Assignment]) -> Settings:
    """A plugin's parameters: defaults, then the profile, then the assignments that apply to it.

    Args:
        entry: the plugin's entry.
        profile: name of a profile; if the plugin lacks it, ``paper`` or the defaults are used.
        assignments: those without owner apply to methods only.

    Raises:
        UserError: for an unknown key, a wrong type or a value out of range.
    """
    fields: dict[str, Any] = entry.schema.get("properties", {})
    profile = profile if profile in entry.profiles else "paper"
    plain = defaults(entry)
    published = plain | entry.profiles.get("paper", {})
    base = plain | entry.profiles.get(profile, {})
    values = dict(base)
    for a in assignments:
        if a.owner == entry.name or (not a.owner and entry.kind == "methods"):
            if a.key not in fields:
                raise _unknown_key(entry, a.key, fields)
            values[a.key] = _value(entry, a, fields[a.key])
    _check(entry, values)
    science = science_only(entry, values)
    changed = [f"{n}={v}" for n, v in science.items() if v != base[n]]
    return Settings(
        profile=f"{profile} ({', '.join(changed)})" if changed else profile,
        science=science,
        runtime={n: v for n, v in values.items() if n not in science},
        published=all(v == published[n] for n, v in science.items()),
    )


def defaults(entry: Entry) -> dict[str, Any]:
    """Every parameter's default."""
    fields: dict[str, Any] = entry.schema.get("properties", {})
    return {name: field.get("default") for name, field in fields.items()}


def science_only(entry: Entry, values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that are part of an identity."""
    fields = entry.schema.get("properties", {})
    return {n: v for n, v in values.items() if fields[n].get("kind", "science") == "science"}


def one_spelling(value: Any, field: Mapping[str, Any]) -> Any:
    """The canonical form of a value: 1 and 1.0 must be equal in an identity.

    Args:
        value: of the parameter.
        field: its schema.
    """
    kind = field.get("type")
    if kind == "number" and type(value) is int:
        return float(value)
    if kind == "integer" and type(value) is float and value.is_integer():
        return int(value)
    return value


def check_owners(assignments: Iterable[Assignment], entries: Iterable[Entry]) -> None:
    """Refuse a ``--set NAME.key`` whose name does not occur in the command."""
    names = [e.name for e in entries]
    for a in assignments:
        if a.owner and a.owner not in names:
            raise unknown("name in --set", a.owner, names)


def _unknown_key(entry: Entry, key: str, fields: Mapping[str, Any]) -> UserError:
    close = nearest(key, fields)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    return UserError(
        f"The {KINDS[entry.kind]} '{entry.name}' has no parameter '{key}'.",
        f"{hint}Valid: {', '.join(sorted(fields)) or 'none'}. See: zsar-bench show {entry.name}",
    )


def _value(entry: Entry, a: Assignment, field: Mapping[str, Any]) -> Any:
    """Read the text as JSON, unless the parameter is a string."""
    if field.get("type") == "string" or ("enum" in field and a.text in field["enum"]):
        return a.text
    text = {"True": "true", "False": "false", "None": "null"}.get(a.text, a.text)
    for read in (json.loads, float):  # 1e-4 is JSON, .5 and 1. are not
        with contextlib.suppress(ValueError):
            value = read(text)
            json.dumps(value, allow_nan=False)  # NaN and infinity are no valid values
            return one_spelling(value, field)
    return a.text


def _check(entry: Entry, values: Mapping[str, Any]) -> None:
    import jsonschema

    validator = jsonschema.Draft202012Validator(entry.schema)
    for error in validator.iter_errors(dict(values)):
        key = str(error.absolute_path[0]) if error.absolute_path else "?"
        meaning = entry.schema["properties"].get(key, {}).get("description", "")
        raise UserError(
            f"{entry.name}: parameter {key} = {values.get(key)!r}: {error.message}.",
            f"{key} is: {meaning}. See: zsar-bench show {entry.name}",
        )


def check_together(pairs: list[tuple[Entry, Settings]], machine: Machine) -> None:
    """Let the plugins' classes check the parameters, including rules between parameters."""
    check = [
        {
            "target": entry.name,
            "params_target": entry.spec["params"],
            "params": settings.values,
        }
        for entry, settings in pairs
    ]
    with tempfile.TemporaryDirectory(prefix="zsar-bench-") as folder:
        job = {
            "kind": "check",
            "plugin_files": machine.plugin_files,
            "code": machine.code,
            "code_state": machine.code_state,
            "protected": machine.protected,
            "check": check,
        }
        run_job(job, Path(folder))
