"""Collects and checks what a plugin registers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zsar_bench.common.names import NAME, WORD
from zsar_bench.specs import (
    DatasetSpec,
    MethodSpec,
    MetricSpec,
    ReporterSpec,
    SkeletonEncoderSpec,
    TextEncoderSpec,
)

TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

#: Catalogue section -> word used in messages and on the command line.
KINDS = {
    "methods": "method",
    "skeleton_encoders": "skeleton encoder",
    "text_encoders": "text encoder",
    "datasets": "data set",
    "metrics": "metric",
    "reporters": "reporter",
}

Spec = MethodSpec | SkeletonEncoderSpec | TextEncoderSpec | DatasetSpec | MetricSpec | ReporterSpec


class Registry:
    """Passed to every hook of one plugin.

    Raises:
        ValueError: by its methods, for a malformed name or target, or a repeated name.
    """

    def __init__(self) -> None:
        self.specs: dict[str, dict[str, Spec]] = {kind: {} for kind in KINDS}
        self.protocol_folders: list[Path] = []
        self.published_folders: list[Path] = []
        self.broken: list[tuple[str, str, str]] = []

    def refuse(self, kind: str, name: str, reason: str) -> None:
        """Report an entry that cannot be added, without failing the others."""
        self.broken.append((kind, name, reason))

    def _add(self, kind: str, spec: Spec) -> None:
        _check(NAME, spec.name, f"{KINDS[kind]} name")
        if not TARGET.fullmatch(spec.target):
            raise ValueError(f"{spec.name}: target {spec.target!r} must be 'package.module:Name'")
        if spec.name in self.specs[kind]:
            raise ValueError(f"{KINDS[kind]} '{spec.name}' is registered twice")
        for name, value in spec_as_json(spec).items():
            for text in _texts(value):
                if not "".join(text.split()).isprintable():
                    raise ValueError(f"{spec.name}: '{name}' holds unprintable characters")
        self.specs[kind][spec.name] = spec

    def method(self, spec: MethodSpec) -> None:
        """Add a method."""
        for text_field in spec.text_fields:
            _check(WORD, text_field, f"{spec.name}: text field")
        for profile in spec.seconds:
            _check(NAME, profile, f"{spec.name}: profile")
        self._add("methods", spec)

    def skeleton_encoder(self, spec: SkeletonEncoderSpec) -> None:
        """Add a skeleton encoder."""
        self._add("skeleton_encoders", spec)

    def text_encoder(self, spec: TextEncoderSpec) -> None:
        """Add a text encoder."""
        self._add("text_encoders", spec)

    def dataset(self, spec: DatasetSpec) -> None:
        """Add a data set."""
        if bool(spec.stand_in_for) != bool(spec.params):
            raise ValueError(f"{spec.name}: 'stand_in_for' and 'params' go together")
        if spec.stand_in_for and spec.parts:
            raise ValueError(f"{spec.name}: 'stand_in_for' and 'parts' exclude each other")
        for name in (*spec.texts, *spec.parts, *filter(None, [spec.stand_in_for])):
            _check(NAME, name, f"{spec.name}: text set, part or 'stand_in_for'")
        self._add("datasets", spec)

    def metric(self, spec: MetricSpec) -> None:
        """Add a metric."""
        self._add("metrics", spec)

    def reporter(self, spec: ReporterSpec) -> None:
        """Add a reporter."""
        self._add("reporters", spec)

    def protocols(self, folder: Path) -> None:
        """Add every ``*.toml`` of a folder as a protocol."""
        self.protocol_folders.append(_folder(folder))

    def published(self, folder: Path) -> None:
        """Add every ``*.json`` of a folder as published results."""
        self.published_folders.append(_folder(folder))


def _check(pattern: re.Pattern[str], name: Any, what: str) -> None:
    """Names become parts of paths and rows of tables: see ``names``."""
    if not isinstance(name, str) or not pattern.fullmatch(name):
        raise ValueError(f"{what} {name!r} must match {pattern.pattern}")


def _texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys included."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _folder(folder: Path) -> Path:
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    return folder


def spec_as_json(spec: Spec) -> dict[str, Any]:
    """A spec as plain JSON values; paths become strings."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value.resolve())
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value

    return {name: plain(value) for name, value in asdict(spec).items()}
