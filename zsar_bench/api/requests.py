"""Requests, and the data and texts that are prepared before runs are planned."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zsar_bench.catalogue.catalogue import Catalogue
from zsar_bench.catalogue.settings import Assignment, check_together
from zsar_bench.common.classes import read_classes
from zsar_bench.common.events import Event, ignore_event
from zsar_bench.common.files import DEFAULT_RESULTS
from zsar_bench.data.clips.importer import open_or_make, store_name
from zsar_bench.data.clips.store import prepared
from zsar_bench.data.texts.texts import choose_texts
from zsar_bench.features.released.released import open_released
from zsar_bench.features.text_embeddings import text_fingerprint
from zsar_bench.plans.choose_data import DataChoice, choose_data, members
from zsar_bench.plans.plan import Prepared
from zsar_bench.plans.request import Request, parse_seeds, parse_size
from zsar_bench.plans.wanted import Wanted

Seeds = int | str | Iterable[int]
SHOWN = 8  #: reasons of failures that an error lists


class SyntheticData(UserWarning):
    """Synthetic clips take the place of a data set that is not imported."""


def make_request(
    methods: str | Iterable[str],
    protocol: str,
    *,
    seeds: Seeds = 0,
    method_seeds: Seeds | None = None,
    text_set: str | Path | None = None,
    text_fields: Iterable[str] | None = None,
    params: Mapping[str, Any] | None = None,
    features: str | Path | None = None,
    memory_limit: int | str | None = None,
    results: str | Path = DEFAULT_RESULTS,
    **more: Any,
) -> Request:
    """A request from a user's options; see ``run`` for all arguments.

    Raises:
        UserError: for invalid seeds, sizes and parameters.
    """
    names = (methods,) if isinstance(methods, str) else tuple(methods)
    size = parse_size(memory_limit) if isinstance(memory_limit, str) else memory_limit
    return Request(
        methods=names,
        protocol=protocol,
        results=Path(results).expanduser().absolute(),
        seeds=_seeds(seeds),
        method_seeds=None if method_seeds is None else _seeds(method_seeds),
        texts=None if text_set is None else str(text_set),
        text_fields=None if text_fields is None else tuple(text_fields),
        assignments=tuple(Assignment.of(name, value) for name, value in (params or {}).items()),
        features=None if features is None else Path(features),
        memory=size,
        **more,
    )


def _seeds(seeds: Seeds) -> tuple[int, ...]:
    if isinstance(seeds, str):
        return parse_seeds(seeds)
    return (seeds,) if isinstance(seeds, int) else tuple(seeds)


def prepare(wanted: Wanted, on_event: Event = ignore_event) -> Prepared:
    """Open or make the clips, read the class texts, check parameters and hash weights.

    Args:
        wanted: what a request names.
        on_event: gets ``stage``, ``step`` and ``total`` while a stand-in is made.

    Raises:
        UserError: if something is missing, or parameters do not go together.
    """
    request, spec = wanted.request, wanted.data.entry.spec
    classes = read_classes(Path(spec["classes"]))
    texts, reason = choose_texts(
        request.texts, spec["texts"], classes, request.text_fields is not None
    )
    if wanted.changed:
        check_together(wanted.changed, wanted.machine)
    fingerprint = text_fingerprint(wanted.text_encoder, wanted.text_settings, wanted.machine)
    prepared = Prepared(texts, ("class texts", texts.name, reason), fingerprint)
    if request.features is not None:
        return _with(prepared, released=open_released(request.features, wanted.data.protocol))
    return _with(prepared, dataset=open_or_make(wanted.data.entry, wanted.machine, on_event))


def _with(prepared: Prepared, **more: Any) -> Prepared:
    from dataclasses import replace

    return replace(prepared, **more)


def data_of(request: Request, catalogue: Catalogue) -> DataChoice:
    """The data set of a request; the members of an average share theirs.

    Raises:
        UserError: for unknown names, or if the wanted data are not available.
    """
    first = members(request.protocol, catalogue)[0]
    return choose_data(first, request.wanted_data, catalogue)


def command_to_make(data: DataChoice) -> str:
    """What to type for synthetic clips that are not made yet; empty where they are there."""
    if not data.synthetic or store_name(data.entry, {}) in prepared():
        return ""
    return f"zsar-bench data import {data.entry.name}"


def warn_of_synthetic(data: DataChoice) -> None:
    """Warn of synthetic clips that were not requested."""
    if data.synthetic and data.reason != "named":
        text = (
            f"{data.protocol.stand_in_for} is not imported: runs on SYNTHETIC clips, as protocol "
            f"{data.protocol.id}. data='real' refuses instead."
        )
        warnings.warn(text, SyntheticData, stacklevel=3)
