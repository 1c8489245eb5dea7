"""A run on disk: its record, its predictions, its seal."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from zsar_bench.common import checksums
from zsar_bench.common.files import write_bytes
from zsar_bench.common.names import plain as printable
from zsar_bench.common.names import protocol_folder
from zsar_bench.data.protocols.protocol import FOLDS, RANDOM, STAND_IN, folder_name
from zsar_bench.errors import UserError
from zsar_bench.records.schema import NewerSchemaError, Record, parse_record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def place_of(record: Record) -> Path:
    """Where a run belongs below ``runs``."""
    return Path(protocol_folder(record.protocol.id)) / record.method.name / record.run_id


def seal_run(folder: Path) -> None:
    """Seal the files of a run, as the last step before it gets its final name."""
    checksums.seal(folder, deep=False)


def check_run(folder: Path) -> None:
    """Refuse a run whose files are not as they were sealed; added files are ignored.

    Raises:
        Damaged: naming the file.
    """
    if (folder / "run.json").is_file() or checksums.sealed(folder):
        hint = f"To make it again, delete the folder {folder} and type the run's command."
        checksums.check(folder, hint=hint, added=False)


def read_record(folder: Path) -> Record:
    """The record of a finished run.

    Raises:
        UserError: naming the file, if it does not follow its schema or its seal, or a later
            release wrote it.
    """
    check_run(folder)
    path = folder / "run.json"
    try:
        return parse_record(path.read_bytes())
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from None
    except NewerSchemaError as error:
        what = f"{path} was written by a later zsar-bench ({error}): update zsar-bench to read it."
        raise UserError(what) from None
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}.") from None


def write_predictions(
    path: Path,
    ids: list[str],
    labels: NDArray[np.int64],
    candidates: list[str],
    scores: NDArray[np.float32],
) -> None:
    """Store one prediction a sample.

    Args:
        path: file to write.
        ids: N sample ids.
        labels: (N,) index of the true class in ``candidates``.
        candidates: K official class ids.
        scores: (N, K); NaN where a class was no candidate of a clip.
    """
    import json

    from safetensors.numpy import save

    metadata = {"ids": json.dumps(ids), "candidates": json.dumps(candidates)}
    blob = save({"labels": labels, "scores": scores}, metadata=metadata)
    write_bytes(path, sorted_header(blob))


def sorted_header(blob: bytes) -> bytes:
    """The same safetensors file with a sorted header: the library orders metadata at random, and
    equal runs must give equal bytes."""
    import json

    size = int.from_bytes(blob[:8], "little")
    header = json.dumps(json.loads(blob[8 : 8 + size]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # tensors stay aligned
    return len(header).to_bytes(8, "little") + header + blob[8 + size :]


def read_predictions(
    path: Path,
) -> tuple[list[str], NDArray[np.int64], list[str], NDArray[np.float32]]:
    """What ``write_predictions`` stored, in its order of arguments.

    Raises:
        UserError: naming the file, if it is damaged; in the folder of a run, also if it is not as
            the run left it.
    """
    import json

    from safetensors import SafetensorError, safe_open

    check_run(path.parent)

    try:
        with safe_open(path, framework="np") as f:
            metadata = f.metadata()
            ids, candidates = json.loads(metadata["ids"]), json.loads(metadata["candidates"])
            labels, scores = f.get_tensor("labels"), f.get_tensor("scores")
    # AttributeError: a type that numpy does not have, such as float8.
    except (
        SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError, AttributeError,
    ) as error:  # fmt: skip
        raise UserError(f"{path} is damaged: {error}.") from None
    lists = all(
        isinstance(x, list) and all(isinstance(i, str) for i in x) for x in (ids, candidates)
    )
    if (
        not lists
        or (labels.dtype.str, scores.dtype.str) != ("<i8", "<f4")
        or labels.shape != (len(ids),)
        or scores.shape != (len(ids), len(candidates))
        or ((labels < 0) | (labels >= len(candidates))).any()
    ):
        raise UserError(f"{path} is damaged: its ids, labels, candidates and scores disagree.")
    return ids, labels, candidates, scores


def find_records(results: Path, protocol: str = "") -> list[Path]:
    """Folders of finished runs below a results folder.

    Args:
        results: holds ``runs``.
        protocol: a protocol's folder name: its runs, those of its stand-in, and of the random
            splits and folds of both; empty: all.
    """
    folders = sorted(p.parent for p in (results / "runs").glob("*/*/[!.]*/run.json"))
    if not protocol:
        return folders
    names = (protocol, folder_name(STAND_IN) + protocol)
    variants = (folder_name(RANDOM), folder_name(FOLDS))
    behind = tuple(name + more for name in names for more in variants)
    return [
        folder
        for folder in folders
        if (name := folder.parent.parent.name) in names or name.startswith(behind)
    ]


def load_records(folders: Iterable[Path]) -> tuple[list[Record], list[str]]:
    """Records, and a message for each damaged one, which is left out."""
    records, damaged = [], []
    for folder in folders:
        try:
            records.append(read_record(folder))
        except UserError as error:
            damaged.append(printable(error.what))
    return records, damaged
