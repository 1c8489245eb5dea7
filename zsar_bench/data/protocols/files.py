"""Protocol files: TOML becomes a checked ``Protocol``, or a ``ProtocolGroup`` of some."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from zsar_bench.catalogue.catalogue import Catalogue, Entry
from zsar_bench.common.classes import ActionClass, read_classes, read_toml
from zsar_bench.common.names import NAME
from zsar_bench.data.protocols.protocol import (
    CROSS_FIT,
    DIVISIONS,
    TRANSFER,
    Protocol,
    ProtocolGroup,
    dataset_entry,
    stand_ins,
)
from zsar_bench.errors import UserError, unknown


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
            return None  # the protocol's checks report it
        if dataset not in self._read:
            self._read[dataset] = self._classes(dataset) if self._known(dataset) else None
        return self._read[dataset]

    def samples(self, dataset: Any) -> Any:
        """A data set's own division of clips, for protocols without one; None if it has none."""
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
    data: dict[str, Any], path: Path, classes: Iterable[ActionClass] | None, samples: Any = None
) -> Protocol:
    """The protocol of a file that has been read.

    Args:
        data: content of the file.
        path: for messages.
        classes: of its data set; None if no plugin has it: such a protocol can be listed and
            shown, with ids as the classes' names.
        samples: the data set's own division of clips, for files without one.

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
    content = {
        "id": entry.name,
        "title": entry.spec["title"],
        "dataset": entry.name,
        "family": entry.name,
        "source": "The classes are divided by zsar-bench; nobody has published this split.",
        "seen": ids[1:],  # placeholders: a split replaces them
        "unseen": ids[:1],
        "samples": entry.spec["samples"],
    }
    return protocol_of(content, Path(entry.name), classes)


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


REQUIRED = ("id", "title", "dataset", "family", "source")


OPTIONAL = ("confidence", "notes", "aliases", "seen", "unseen", "folds", "samples", "gzsl")


AVERAGE = "average"  #: the table that only a group has


GROUP_REQUIRED = ("id", "title", "source", AVERAGE)


GROUP_OPTIONAL = ("family", "confidence", "notes", "aliases")


TEXTS = ("id", "title", "family", "source", "confidence", "notes")


SAMPLES = ("rule", "groups", "pairs", "column", "train", "candidates", "test_clips", "stand-in")


#: Sample rule -> the entries that may define its division of clips.
DIVIDING: Mapping[str, tuple[str, ...]] = {
    CROSS_FIT: ("groups",),
    TRANSFER: ("pairs",),
    **dict.fromkeys(DIVISIONS, ("train", "column", "stand-in")),
}


def check_fields(
    data: dict[str, Any], path: Path, required: tuple[str, ...], optional: tuple[str, ...]
) -> None:
    """Every required field is there, and no other than the optional ones."""
    for name in required:
        if name not in data:
            raise UserError(f"Protocol file {path}: the field '{name}' is missing.")
    for name in data:
        if name not in required + optional:
            raise unknown(f"field in {path.name}:", name, required + optional)


def check_names(data: dict[str, Any], where: str) -> None:
    """Texts are texts, the id is plain, and aliases are a list."""
    for name in TEXTS:
        if not isinstance(data.get(name, ""), str):
            raise UserError(f"{where}: '{name}' must be a text.")
    if not NAME.fullmatch(data["id"]):  # it becomes a folder's name
        raise UserError(f"{where}: the 'id' {data['id']!r} must match {NAME.pattern}.")
    aliases = data.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(a, str) for a in aliases):
        raise UserError(f"{where}: 'aliases' must be a list of names.")


def check_folds(data: dict[str, Any], ids: list[str], rule: str, where: str) -> list[list[str]]:
    """The folds of a file, none for one with seen and unseen classes; all checked."""
    given = [name for name in ("seen", "unseen", "folds") if name in data]
    if rule == TRANSFER:
        if given:
            raise UserError(
                f"{where}: '{given[0]}' has no meaning for the rule '{TRANSFER}': seen is what "
                "the training setup has, and unseen what only the tested one has."
            )
        return []
    if "folds" not in given:
        for name in ("seen", "unseen"):
            if name not in data:
                raise UserError(f"{where}: the field '{name}' is missing.")
        _check_classes(data, ids, where)
        return []
    if len(given) > 1:
        raise UserError(f"{where}: 'folds' and '{given[0]}' exclude each other.")
    folds = data["folds"]
    lists = isinstance(folds, list) and all(isinstance(f, list) and f for f in folds)
    if not lists or len(folds) < 2:
        raise UserError(f"{where}: 'folds' must hold at least two lists of class ids.")
    for number, fold in enumerate(folds, 1):
        rest = [c for other in folds[: number - 1] + folds[number:] for c in other]
        _check_classes({"seen": rest, "unseen": fold}, ids, f"{where}, fold {number}")
    return list(folds)


def own_classes(data: dict[str, Any]) -> tuple[ActionClass, ...]:
    """Classes without names, from the ids that a file lists; A2 stands before A10."""
    listed = [ids for part in ("seen", "unseen") if isinstance(ids := data.get(part), list)]
    ids = {c for ids in listed for c in ids if isinstance(c, str)}
    parts = {c: re.split(r"(\d+)", c) for c in ids}
    order = sorted(ids, key=lambda c: [int(p) if p.isdecimal() else p for p in parts[c]])
    return tuple(ActionClass(c, c, "", "") for c in order)


def _check_classes(data: dict[str, Any], known: list[str], where: str) -> None:
    for part in ("seen", "unseen"):
        ids = data[part]
        if not isinstance(ids, list) or not ids:
            raise UserError(f"{where}: '{part}' must be a list of class ids, and not empty.")
        _check_ids(ids, known, part, where)
    both = set(data["seen"]) & set(data["unseen"])
    if both:
        raise UserError(f"{where}: {', '.join(sorted(both))} is both seen and unseen.")
    left_out = [c for c in known if c not in {*data["seen"], *data["unseen"]}]
    if left_out:
        raise UserError(f"{where}: {', '.join(left_out)} is neither seen nor unseen.")


def _check_ids(ids: list[Any], known: list[str], part: str, where: str) -> None:
    places = {*known}
    for class_id in ids:
        if not isinstance(class_id, str) or class_id not in places:
            raise unknown(f"class in '{part}' of {where}:", str(class_id), known)
    repeated = {c for c in ids if ids.count(c) > 1} if len({*ids}) < len(ids) else ()
    if repeated:
        raise UserError(f"{where}: '{part}' repeats {', '.join(sorted(repeated))}.")


def check_pseudo_unseen(data: dict[str, Any], where: str) -> list[str]:
    """Class ids of the table ``gzsl``, which must be seen."""
    if "gzsl" not in data:
        return []
    table = data["gzsl"]
    ids = table.get("pseudo_unseen") if isinstance(table, dict) else None
    if not isinstance(ids, list) or not ids or {*table} != {"pseudo_unseen"}:
        raise UserError(
            f"{where}: 'gzsl' must hold 'pseudo_unseen' alone, a list of class ids, not empty."
        )
    if "seen" not in data:
        raise UserError(f"{where}: 'gzsl' needs a list of seen classes.")
    _check_ids(ids, data["seen"], "gzsl.pseudo_unseen", where)
    if len(ids) >= len(data["seen"]):
        raise UserError(f"{where}: gzsl.pseudo_unseen leaves no seen class.")
    return ids


def check_samples(data: Any, where: str) -> dict[str, Any]:
    """The table ``samples`` of a protocol or a data set, if it makes sense.

    Raises:
        UserError: beginning with ``where``.
    """
    rules = tuple(DIVIDING)
    if not isinstance(data, dict) or data.get("rule") not in rules:
        raise UserError(f"{where}: samples.rule must be one of {', '.join(rules)}.")
    for name in data:
        if name not in SAMPLES:
            raise unknown(f"entry in 'samples' of {where}:", name, SAMPLES)
    test_clips = data.get("test_clips", 1)
    if type(test_clips) is not int or test_clips < 1:
        raise UserError(
            f"{where}: samples.test_clips must be the number of unseen test clips, or be left "
            "out where nobody has counted them."
        )
    allowed = DIVIDING[data["rule"]]
    for name in (n for names in DIVIDING.values() for n in names):
        if name in data and name not in allowed:
            raise UserError(
                f"{where}: samples.{name} has no meaning for the rule '{data['rule']}'."
            )
    if data.get("candidates", "setup") != "setup":
        raise UserError(f"{where}: samples.candidates can only be 'setup', or be left out.")
    if data["rule"] == CROSS_FIT:
        _check_groups(data.get("groups"), where)
    elif data["rule"] == TRANSFER:
        _check_pairs(data.get("pairs"), where)
    else:
        _check_division(data, where)
    return data


def _check_pairs(pairs: Any, where: str) -> None:
    lists = isinstance(pairs, list) and pairs
    if not lists or not all(is_texts(pair) and len(pair) == 2 for pair in pairs):
        raise UserError(f"{where}: samples.pairs must hold pairs of setups: train, test.")
    if not is_texts([pair[1] for pair in pairs]):
        raise UserError(f"{where}: samples.pairs must test each setup at most once.")


def _check_groups(groups: Any, where: str) -> None:
    lists = isinstance(groups, list) and all(isinstance(g, list) and g for g in groups)
    if not lists or len(groups) < 2:
        raise UserError(f"{where}: samples.groups must hold at least two lists of subjects.")
    if not is_texts([s for g in groups for s in g]):
        raise UserError(f"{where}: samples.groups must name each subject once, as text.")


def _check_division(data: dict[str, Any], where: str) -> None:
    columns = sorted({*DIVISIONS.values()})
    tables = {"samples": data}
    if "stand-in" in data:
        tables["samples.stand-in"] = data["stand-in"]
        if not isinstance(data["stand-in"], dict) or not {*data["stand-in"]} <= {"column", "train"}:
            raise UserError(f"{where}: samples.stand-in may hold 'column' and 'train' only.")
    for name, table in tables.items():
        column = table.get("column", DIVISIONS[data["rule"]])
        if column not in columns:
            raise UserError(f"{where}: {name}.column must be one of {', '.join(columns)}.")
        if not is_texts(table.get("train")):
            raise UserError(
                f"{where}: {name}.train must name each training {column} once, as a list of texts."
            )


def column_of(table: dict[str, Any], rule: str) -> str:
    """The column that a table divides by, empty where it is the rule's own."""
    column = str(table.get("column", ""))
    return "" if column == DIVISIONS.get(rule) else column


def is_texts(values: Any) -> TypeGuard[list[str]]:
    """Whether this is a list of texts, not empty, each once."""
    texts = isinstance(values, list) and all(isinstance(v, str) for v in values)
    return texts and 0 < len(values) == len(set(values))
