"""A comparison, and how it is drawn: by our reporters here, by those of plugins in a worker."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zsar_bench.catalogue.catalogue import Catalogue


@dataclass(frozen=True)
class Comparison:
    """Stored runs, compared.

    Attributes:
        data: sections and rows, as ``--json`` prints them.
        catalogue: where reporters are looked up.
    """

    data: dict[str, Any]
    catalogue: Catalogue = field(repr=False)

    def to_markdown(self) -> str:
        """GitHub-flavoured Markdown tables."""
        return self.draw("markdown")

    def to_json(self) -> str:
        """Everything the tables hold, and more, as JSON."""
        return self.draw("json")

    def to_text(self, width: int = 100, color: bool = False) -> str:
        """Tables for a terminal of so many columns."""
        return self.draw("table", width, color)

    def __str__(self) -> str:
        return self.to_text()

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        return self.to_markdown()

    def draw(self, reporter: str, width: int = 100, color: bool = False) -> str:
        """The comparison by a reporter of this name.

        Args:
            reporter: e.g. ``table``, ``markdown``, ``json``, or a plugin's.
            width: columns of the terminal.
            color: whether it shows colours.

        Raises:
            UserError: for an unknown reporter.
            RunFailed: if a plugin's reporter fails.
        """
        from zsar_bench.catalogue.loading import resolve

        entry = self.catalogue.find("reporters", reporter)
        if entry.plugin == "core":
            text = str(resolve(entry.spec["target"])(self.data, width=width, color=color))
        else:
            text = self._by_plugin(entry, width, color)
        return text if text.endswith("\n") else f"{text}\n"

    def _by_plugin(self, entry: Any, width: int, color: bool) -> str:
        from zsar_bench.catalogue.machine import Machine
        from zsar_bench.common.files import home
        from zsar_bench.sandbox.client import Worker

        catalogue = self.catalogue
        machine = Machine(
            "cpu",
            1,
            plugin_files=tuple(str(p) for p in catalogue.plugin_files),
            code=catalogue.code,
            protected=(str(home()),),
        )
        with (
            tempfile.TemporaryDirectory(prefix="zsar-bench-") as folder,
            Worker(machine.job("report", entry, {}), Path(folder)) as worker,
        ):
            request = {"comparison": self.data, "width": width, "color": color}
            return str(worker.ask(request)["text"])
