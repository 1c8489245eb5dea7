"""A comparison, and how it is drawn: by our reporters here, by those of plugins in a worker."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zsar_bench.catalogue.catalogue import Catalogue


@dataclass(frozen=True)
class Interval:
    """A 95 % interval, in fractions; ``name`` says of what (t over subjects, over classes ...)."""

    low: float
    high: float
    name: str


@dataclass(frozen=True)
class Row:
    """Runs of one method that differ by their seeds only. Accuracies are fractions.

    Attributes:
        method, profile: the method and the named profile of its parameters.
        hp: where its hyper-parameters come from: ``authors``, ``untuned`` or ``tuned``.
        tuning: the search that they come from; None without one.
        science: parameters that can change a score.
        code: SHA-256 of the method's code.
        variant: in what it differs from other rows of the method; empty if in nothing.
        encoder, encoder_profile, text_encoder: skeleton encoder, its profile, text encoder.
        texts, text_fields: class texts and the fields that are read.
        rule: selection rule of the checkpoint.
        unranked: why it is not ranked; empty if it is.
        device, precision: where and how it was computed.
        confinement: the weakest level of all steps: ``landlock``, ``process`` or ``none``.
        denied: ``"stage: what"`` -> refused accesses.
        proof: what ``prove`` found, over runs; None where no run was proven.
        seeds, encoder_seeds: number of runs; seeds of their encoders.
        spread_excludes_encoder: whether all runs share one encoder.
        top1, mean_class: means over seeds.
        sd_encoder, sd_method: standard deviation over encoder seeds, over method seeds.
        interval: over classes where classes take turns at being unseen, else over subjects.
        subject_interval, seed_interval: over subjects; over encoder seeds.
        beats_chance: whether it is above chance for new subjects or classes; None: cannot tell.
        subject_means, class_means: accuracies by subject and by class, in sorted order.
        clips, tied: tested clips; clips whose highest score is shared.
        seen_accuracy: of the encoder's classifier on its training clips.
        seconds: mean of fit and scoring.
        declared_setting: as the plugin declares it.
        best: whether it is the first of its section.
        not_shown_to_differ: whether it is not significantly worse than the best one.
    """

    method: str
    profile: str
    hp: str
    tuning: dict[str, Any] | None
    science: dict[str, Any]
    code: str
    variant: str
    encoder: str
    encoder_profile: str
    text_encoder: str
    texts: str
    text_fields: list[str]
    rule: str
    unranked: str
    device: str
    precision: str
    confinement: str
    denied: dict[str, int]
    proof: dict[str, Any] | None
    seeds: int
    encoder_seeds: list[int]
    spread_excludes_encoder: bool
    top1: float
    mean_class: float
    sd_encoder: float | None
    sd_method: float | None
    interval: Interval | None
    subject_interval: Interval | None
    seed_interval: Interval | None
    beats_chance: bool | None
    subject_means: list[float]
    class_means: list[float]
    clips: int
    tied: int
    seen_accuracy: float | None
    seconds: float
    declared_setting: str
    best: bool
    not_shown_to_differ: bool


@dataclass(frozen=True)
class Section:
    """Rows that may be ranked with each other: one protocol, sample list, setting, features.

    Attributes:
        protocol, dataset, rule: what was tested, and by which sample rule.
        oracle: whether the class texts were written with the test in view.
        synthetic, stand_in_for: whether clips are synthetic, and in whose place.
        family_of: the protocol of which this is a random split, else empty.
        setting: ``inductive``, ``class-transductive`` or ``transductive``.
        origin: of the features: ``certified``, ``released`` or ``unknown``.
        unranked: why its rows are not ranked; empty if they are.
        seen, unseen, folds: numbers of classes, and of folds.
        headline: the accuracy by which rows are ordered: ``top1`` or ``mean_class``.
        clips, expected_clips: tested; of the complete data set, 0 if there is no fixed number.
        released: the released features; None where an encoder was trained.
        subjects: of the tested clips, if known.
        chance, chance_top1: expected mean class and top-1 accuracy of a guess.
        majority_class: accuracy of always naming the most frequent class.
        detectable: the largest minimum detectable difference to the best row, of the rows that are
            not significantly worse.
        rows: the best first.
    """

    protocol: str
    dataset: str
    oracle: bool
    synthetic: bool
    stand_in_for: str
    family_of: str
    setting: str
    origin: str
    unranked: str
    rule: str
    unseen: int
    seen: int
    folds: int
    headline: str
    clips: int
    expected_clips: int
    released: dict[str, Any] | None
    subjects: int
    chance: float
    chance_top1: float
    majority_class: float
    detectable: float | None
    rows: list[Row]


def _row(data: dict[str, Any]) -> Row:
    names = ("interval", "subject_interval", "seed_interval")
    ends = {name: Interval(**data[name]) if data[name] else None for name in names}
    return Row(**(data | ends))


@dataclass(frozen=True)
class Comparison:
    """Stored runs, compared.

    Attributes:
        data: all of it, as ``--json`` prints it: beside ``sections`` also ``splits`` (several
            random class splits), ``controls`` (text controls), ``rules``, ``gzsl``, ``published``.
        catalogue: where reporters are looked up.
    """

    data: dict[str, Any] = field(repr=False)
    catalogue: Catalogue = field(repr=False)

    @cached_property
    def sections(self) -> list[Section]:
        """The ranked tables, and those that are kept apart from them."""
        return [
            Section(**(data | {"rows": [_row(row) for row in data["rows"]]}))
            for data in self.data["sections"]
        ]

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
