"""Protocol files: TOML becomes a checked ``Protocol``, or a ``ProtocolGroup`` of some."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zsar_bench.catalogue import Catalogue, Entry
from zsar_bench.datasets import ActionClass, read_classes, read_toml
from zsar_bench.errors import UserError, unknown
from zsar_bench.protocol import Protocol, ProtocolGroup, dataset_entry, stand_ins
from zsar_bench.protocol_checks import (
    AVERAGE,
    GROUP_OPTIONAL,
    GROUP_REQUIRED,
    OPTIONAL,
    REQUIRED,
    check_fields,
    check_folds,
    check_names,
    check_pseudo_unseen,
    check_samples,
    column_of,
    is_texts,
    own_classes,
)


class ClassLists:
    """The class lists of data sets, each read at most once.

    Args:
        catalogue: to find the data sets.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._read: dict[str, tuple[ActionClass, ...] | None] = {}

    def of(self, dataset: Any) -> tuple[ActionClass, ...] | None:
        """Classes of a data set or of its stand-in; None if no plugin brings either."""
        if not isinstance(dataset, str):
            return None  # the protocol's checks will say so
        if dataset not in self._read:
            self._read[dataset] = self._classes(dataset) if self._known(dataset) else None
        return self._read[dataset]

    def samples(self, dataset: Any) -> Any:
        """How a data set's clips are divided unless a protocol says it; None if it does not say."""
        if not isinstance(dataset, str) or not self._known(dataset):
            return None
        return dataset_entry(dataset, self._catalogue).spec.get("samples") or None

    def _known(self, dataset: str) -> bool:
        names = self._catalogue.names("datasets")
        return dataset in names or bool(stand_ins(dataset, self._catalogue))

    def _classes(self, dataset: str) -> tuple[ActionClass, ...]:
        entry = dataset_entry(dataset, self._catalogue)
        return tuple(read_classes(Path(entry.spec["classes"])))


def load_protocol(
    path: Path, classes: Iterable[ActionClass] | None, catalogue: Catalogue
) -> Protocol:
    """Read and check a protocol file.

    Args:
        path: TOML file.
        classes: of its data set; None: looked up in the catalogue.
        catalogue: where to.

    Raises:
        UserError: naming file and field, for missing or unknown fields and for classes that
            overlap, are missing, unknown or repeated; for a file that averages protocols.
    """
    data = read_toml(path)
    if is_group(data):
        raise UserError(
            f"Protocol file {path} averages other protocols and is none itself.",
            "Name one of those that its list 'of' holds.",
        )
    lists = ClassLists(catalogue)
    dataset = data.get("dataset")
    if classes is None:
        classes = lists.of(dataset)
    return protocol_of(data, path, classes, lists.samples(dataset))


def is_group(data: Mapping[str, Any]) -> bool:
    """Whether a file's content is of a ``ProtocolGroup``."""
    return AVERAGE in data


def protocol_of(
    data: dict[str, Any],
    path: Path,
    classes: Iterable[ActionClass] | None,
    samples: Any = None,
) -> Protocol:
    """The protocol of a file that has been read.

    Args:
        data: content of the file.
        path: for messages.
        classes: of its data set; None where nobody brings that: such a protocol can be listed
            and shown, with its own ids as the classes' names.
        samples: how the data set's clips are divided, where the file leaves it to that.

    Raises:
        UserError: as ``load_protocol``.
    """
    where = f"Protocol file {path}"
    check_fields(data, path, REQUIRED, OPTIONAL)
    check_names(data, where)
    if not isinstance(data["dataset"], str):
        raise UserError(f"{where}: 'dataset' must be the name of a data set.")
    classes = own_classes(data) if classes is None else tuple(classes)
    samples = data.get("samples", samples)
    if samples is None:
        raise UserError(f"{where}: the field 'samples' is missing.")
    samples = check_samples(samples, where)
    stand_in = samples.get("stand-in", {})
    ids = [c.id for c in classes]
    folds = check_folds(data, ids, samples["rule"], where)
    order = {c: i for i, c in enumerate(ids)}
    return Protocol(
        id=data["id"],
        title=data["title"],
        dataset=data["dataset"],
        family=data["family"],
        source=data["source"],
        confidence=data.get("confidence", ""),
        notes=data.get("notes", ""),
        aliases=tuple(data.get("aliases", ())),
        seen=tuple(sorted(data.get("seen", ids), key=order.__getitem__)),
        unseen=tuple(sorted(data.get("unseen", ids), key=order.__getitem__)),
        folds=tuple(tuple(sorted(fold, key=order.__getitem__)) for fold in folds),
        rule=samples["rule"],
        groups=tuple(tuple(g) for g in samples.get("groups", samples.get("pairs", ()))),
        own_candidates="candidates" in samples,
        train=tuple(samples.get("train", ())),
        column=column_of(samples, samples["rule"]),
        stand_in_train=tuple(stand_in.get("train", ())),
        stand_in_column=column_of(stand_in, samples["rule"]),
        pseudo_unseen=tuple(sorted(check_pseudo_unseen(data, where), key=order.__getitem__)),
        test_clips=samples.get("test_clips", 0),
        classes=classes,
    )


def dataset_protocol(entry: Entry) -> Protocol:
    """All classes of a data set and its own sample rule, to be split into seen and unseen.

    Raises:
        UserError: if the data set has no rule, or a faulty one.
    """
    where = f"Data set '{entry.name}'"
    if not entry.spec.get("samples"):
        raise UserError(f"{where} does not say how its clips are divided into train and test.")
    classes = read_classes(Path(entry.spec["classes"]))
    ids = [c.id for c in classes]
    about = {
        "id": entry.name,
        "title": entry.spec["title"],
        "dataset": entry.name,
        "family": entry.name,
        "source": "The classes are divided by zsar-bench; nobody has published this split.",
        "seen": ids[1:],  # whatever: a split says which
        "unseen": ids[:1],
        "samples": entry.spec["samples"],
    }
    return protocol_of(about, Path(entry.name), classes)


def group_of(data: dict[str, Any], path: Path, known: Iterable[str]) -> ProtocolGroup:
    """The group of a file that has been read.

    Args:
        data: content of the file.
        path: for messages.
        known: ids of all protocols.

    Raises:
        UserError: naming file and field, for faulty fields, and for unknown or too few members.
    """
    where = f"Protocol file {path}"
    check_fields(data, path, GROUP_REQUIRED, GROUP_OPTIONAL)
    check_names(data, where)
    average, known = data[AVERAGE], {*known}
    of = average.get("of") if isinstance(average, dict) else None
    if not is_texts(of) or len(of) < 2 or {*average} != {"of"}:
        raise UserError(
            f"{where}: '{AVERAGE}' must hold 'of' alone, a list of two or more different protocols."
        )
    for name in of:
        if name not in known or name == data["id"]:
            raise unknown(f"protocol in '{AVERAGE}' of {where}:", name, known)
    return ProtocolGroup(
        id=data["id"],
        title=data["title"],
        source=data["source"],
        aliases=tuple(data.get("aliases", ())),
        of=tuple(of),
        family=data.get("family", ""),
        confidence=data.get("confidence", ""),
        notes=data.get("notes", ""),
    )
