"""The features of a trained encoder as files for other code.

    npy     train.npy, train_label.npy, ztest.npy, ... as in ``released.folder``
    npz     features.npz with the same arrays, and ids, subjects and class names

One round goes into the folder itself, several into a subfolder each. ``features.json`` and
``README.txt`` describe how they were made.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.common.files import fresh_folder, make_folder, write_bytes, write_json
from zsar_bench.data.protocols.protocol import Protocol
from zsar_bench.errors import UserError
from zsar_bench.features.encoders import EncoderPlan
from zsar_bench.features.exported import FORMAT, read_export
from zsar_bench.features.released.folder import FILES, SPLITS, FeatureFolder, Part
from zsar_bench.records.environment import environment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LAYOUTS = ("npy", "npz")
README_FILES = {
    "npy": (
        "train.npy, train_label.npy  seen classes, training clips",
        "ztest.npy, z_label.npy      unseen classes, test clips",
        "gtest.npy, g_label.npy      all classes, test clips",
        "label_splits/ru*, rs*.npy   labels of the unseen and of the seen classes",
    ),
    "npz": (
        "features.npz: train, ztest and gtest as in the folders that the field exchanges, with",
        "train_label, z_label, g_label, and the ids and subjects of every part's clips; ru* and",
        "rs* are the labels of the unseen and of the seen classes.",
    ),
}


def check_target(out: Path, layout: str, force: bool) -> None:
    """Refuse an unknown layout and a folder that exists.

    Raises:
        UserError: with what to type instead.
    """
    if layout not in LAYOUTS:
        raise UserError(f"Unknown layout '{layout}'.", f"Known: {', '.join(LAYOUTS)}.")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir() or read_export(out) is None:
        raise UserError(
            f"{out} exists and is no exported feature folder: it is not replaced.",
            "Choose another place: --out DIR",
        )
    if not force:
        raise UserError(f"{out} holds exported features already.", "To replace them, add --force.")


def export(
    protocol: Protocol, plans: Sequence[EncoderPlan], layout: str, out: Path
) -> dict[str, Any]:
    """Write the features of every round.

    Args:
        protocol: what the encoders were trained for.
        plans: one encoder a round; their features are in the cache.
        layout: one of ``LAYOUTS``.
        out: folder to make; what ``check_target`` allows is replaced.

    Returns:
        The content of ``features.json``.
    """
    rounds = []
    with fresh_folder(out) as folder:
        for plan in plans:
            where = folder if len(plans) == 1 else make_folder(folder / plan.round.name)
            parts = {name: _part(plan, protocol, index) for name, index in _index(plan).items()}
            write = _write_npz if layout == "npz" else _write_folder
            write(plan, protocol, parts, where)
            rounds.append(_about_round(plan, parts, where.relative_to(folder).as_posix()))
        content = _about(protocol, plans, layout, rounds)
        write_json(folder / "features.json", content)
        write_bytes(folder / "README.txt", _readme(content).encode())
        old = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.old")
        if out.exists():  # an empty folder, or an export that is to be replaced
            out.rename(old)
    shutil.rmtree(old, ignore_errors=True)
    return content


def _index(plan: EncoderPlan) -> dict[str, list[int]]:
    """Part -> its clips, in the store's order: by class, then by subject."""
    r = plan.round
    return {
        "train": sorted(r.train),
        "ztest": sorted(r.test_unseen),
        "gtest": sorted([*r.test_unseen, *r.test_seen]),
    }


def _part(plan: EncoderPlan, protocol: Protocol, index: list[int]) -> Part:
    import numpy as np

    labels = [protocol.place[plan.dataset.clips["class"][i]] for i in index]
    return Part(plan.read(index, ())["pooled"], np.array(labels, dtype=np.int64))


def _splits(protocol: Protocol) -> dict[str, NDArray[np.int64]]:
    """File name of a label list -> labels: ``ru5`` the 5 unseen ones, ``rs55`` the seen ones."""
    import numpy as np

    return {
        f"{prefix}{len(ids)}": np.array([protocol.place[i] for i in ids], dtype=np.int64)
        for prefix, ids in (("ru", protocol.unseen), ("rs", protocol.seen))
    }


def _write_folder(
    plan: EncoderPlan, protocol: Protocol, parts: dict[str, Part], folder: Path
) -> None:
    import numpy as np

    for name, part in parts.items():
        features, labels = FILES[name]
        np.save(folder / features, part.features, allow_pickle=False)
        np.save(folder / labels, part.labels, allow_pickle=False)
    lists = make_folder(folder / SPLITS)
    for name, ids in _splits(protocol).items():
        np.save(lists / f"{name}.npy", ids, allow_pickle=False)


def _write_npz(plan: EncoderPlan, protocol: Protocol, parts: dict[str, Part], folder: Path) -> None:
    import numpy as np

    index, clips = _index(plan), plan.dataset.clips
    arrays: dict[str, NDArray[Any]] = {}
    for name, part in parts.items():
        features, labels = (Path(file).stem for file in FILES[name])
        arrays[features], arrays[labels] = part.features, part.labels
        arrays[f"{name}_id"] = np.array([clips["id"][i] for i in index[name]])
        arrays[f"{name}_subject"] = np.array([clips["subject"][i] for i in index[name]])
    arrays |= _splits(protocol)
    arrays["class_id"] = np.array([c.id for c in protocol.classes])
    arrays["class_name"] = np.array([c.name for c in protocol.classes])
    np.savez(folder / "features.npz", **arrays)  # type: ignore[arg-type]


def _about_round(plan: EncoderPlan, parts: dict[str, Part], folder: str) -> dict[str, Any]:
    trained = plan.about
    clips, index = plan.dataset.clips, _index(plan)
    return {
        "round": plan.round.name,
        "folder": folder,
        "hash": FeatureFolder(Path(folder), parts, ()).digest,
        "key": plan.key,
        "channels": int(parts["train"].features.shape[1]),
        "train_classes": list(plan.seen),
        "train_clips": trained["train_clips"],
        "train_subjects": trained["train_subjects"],
        "seen_accuracy": trained["seen_accuracy"],
        "clips": {
            name: {
                "count": len(rows),
                "id": [clips["id"][i] for i in rows],
                "subject": [clips["subject"][i] for i in rows],
            }
            for name, rows in index.items()
        },
    }


def _about(
    protocol: Protocol, plans: Sequence[EncoderPlan], layout: str, rounds: list[dict[str, Any]]
) -> dict[str, Any]:
    first = plans[0]
    where = environment(first.machine, "float32")
    return {
        "format": FORMAT,
        "layout": layout,
        "protocol": {
            "id": protocol.id,
            "title": protocol.title,
            "digest": protocol.digest,
            "rule": protocol.rule,
            "seen": list(protocol.seen),
            "unseen": list(protocol.unseen),
        },
        "dataset": {
            "id": protocol.dataset,
            "digest": first.dataset.digest,
            "synthetic": protocol.synthetic,
        },
        "encoder": {
            "name": first.entry.name,
            "plugin": first.entry.plugin,
            "code": first.entry.digest,
            "profile": first.settings.profile,
            "params": first.settings.values,
            "seed": first.seed,
        },
        "classes": [
            {"label": n, "id": c.id, "name": c.name} for n, c in enumerate(protocol.classes)
        ],
        "rounds": rounds,
        "environment": where.model_dump(),
    }


def _readme(content: dict[str, Any]) -> str:
    """The text of ``README.txt``."""
    encoder, protocol, data = content["encoder"], content["protocol"], content["dataset"]
    lines = [
        f"Skeleton features for the protocol {protocol['id']}:",
        f"{protocol['title']}.",
        "",
        f"Made by zsar-bench {content['environment']['zsar_bench']} with the skeleton encoder "
        f"{encoder['name']}",
        f"(profile {encoder['profile']}, seed {encoder['seed']}, code {encoder['code'][:12]}), "
        f"trained on clips of the {len(protocol['seen'])} seen classes",
        f"only, of {data['id']} (prepared data {data['digest'][:12]}).",
        "",
        *README_FILES[content["layout"]],
        "",
        "Features are float32, a row a clip. Labels count from 0 in the official order of the",
        "classes; features.json names them, and every row's clip and subject.",
        "",
    ]
    for row in content["rounds"]:
        accuracy = row["seen_accuracy"]
        accuracy_text = (
            "" if accuracy is None else f", {100 * accuracy:.1f} % right on seen test clips"
        )
        counts = ", ".join(f"{name} {part['count']}" for name, part in row["clips"].items())
        lines.append(
            f"{row['round']}: trained on {row['train_clips']} clips{accuracy_text}; {counts};"
        )
        lines.append(f"  hash {row['hash']}")
    if content["layout"] == "npy":
        lines += ["", "To test methods on these features:"]
        lines.append(f"  zsar-bench run METHOD --protocol {protocol['id']} --features THIS_FOLDER")
    return "\n".join(lines) + "\n"
