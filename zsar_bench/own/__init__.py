"""A data set of the user's own: a folder with a description, a manifest and one file a clip.

    my-data/dataset.toml  layout.toml  [classes.toml]  [texts-<set>.toml]  manifest.csv  clips/...

No plugin is needed: this reader serves every such folder. It reads the description from the
folder itself, so that it needs to know nothing beforehand. ``store`` keeps the descriptions of
what was imported, ``importing`` brings a folder in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zsar_bench.errors import DataError, nearest
from zsar_bench.own.description import TEXTS, Description, read_description
from zsar_bench.own.manifest import LARGEST_MANIFEST, MANIFEST, Row, read_manifest

if TYPE_CHECKING:
    import numpy as np

    from zsar_bench.contracts import ClipName, RawSource


class Container:
    """The clips that a manifest lists.

    Attributes:
        clips: of the manifest, in its order.
        files: the file of each clip.
        rows: the manifest's lines.
        description: of the folder; its classes are those of the manifest where it names none.
    """

    def __init__(self, source: RawSource, description: Description, rows: Sequence[Row]) -> None:
        self.source = source
        self.description = description
        self.rows = rows
        self.clips: Sequence[ClipName] = [row.clip for row in rows]
        self.files: Sequence[str] = [row.file for row in rows]

    def read(self, number: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Clip ``number``: (T, B, V, 3) float32 in metres, zero where a body is absent.

        Raises:
            DataError: for a file that is no whole, finite clip of these joints; names it.
        """
        from zsar_bench.own.clips import read_clip

        file = self.files[number]
        try:
            return read_clip(file, self.source.read(file), self.description.shape)
        except DataError as error:
            raise DataError(f"{file}: {error.what}", error.hint) from None


class Reader:
    """Reader of any folder as ``zsar_bench.contracts.DatasetReader`` asks for it."""

    def identify(self, name: str) -> ClipName | None:
        """No file says by its name alone what it holds: the manifest does."""
        return None

    def read(self, data: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Refuses: only the manifest tells which file is which clip."""
        raise DataError(f"a clip of one's own is read by way of {MANIFEST} only")

    def holds(self, name: str) -> bool:
        """Whether this file is the manifest, which stands for all clips."""
        return name == MANIFEST

    def aside(self, name: str) -> str:
        """What is to be said of a file that has no part in the data set."""
        return f"not in {MANIFEST}"

    def open(self, name: str, source: RawSource) -> Container:
        """The clips of the folder; none is read yet.

        Raises:
            DataError: for a faulty description or manifest, naming file, line and column.
        """
        names = {*source.names}
        description = read_description(names, source.read)
        if name not in names:
            raise DataError(f"There is no {MANIFEST}, which lists the clips.")
        data = source.read(name)
        if len(data) > LARGEST_MANIFEST:
            raise DataError(f"{name} is larger than {LARGEST_MANIFEST >> 20} MiB.")
        rows, classes = read_manifest(data, description.classes)
        for row in rows:
            if row.file not in names:
                close = nearest(row.file, names) if len(names) < 10_000 else []
                raise DataError(
                    f"{name}, line {row.line}, column 'clip': there is no file {row.file!r}.",
                    f"Did you mean {' or '.join(close)}?" if close else "",
                )
        # Opened once, they count as files of this container, and are watched for changes.
        for file in [*filter(TEXTS.fullmatch, names), *(row.file for row in rows)]:
            _touch(source, file)
        return Container(source, description.with_classes(classes), rows)


def _touch(source: RawSource, file: str) -> None:
    try:
        source.open(file).close()
    except DataError as error:
        raise DataError(f"{file} cannot be read: {error.what}.", error.hint) from None
