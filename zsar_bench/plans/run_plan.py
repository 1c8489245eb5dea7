"""The plan of one run: everything that determines it, and its folders."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from zsar_bench.catalogue.catalogue import Entry
from zsar_bench.catalogue.machine import Machine
from zsar_bench.catalogue.settings import Settings
from zsar_bench.common import files
from zsar_bench.common.hashing import VERSION, digest
from zsar_bench.data.protocols.protocol import Protocol
from zsar_bench.data.texts.texts import ClassTexts
from zsar_bench.features.source import FeatureSource
from zsar_bench.features.text_embeddings import TextPlan
from zsar_bench.plans.controls import Control
from zsar_bench.plans.selection import LAST, kept_states

if TYPE_CHECKING:
    from zsar_bench.records.parts import TuningPart


@dataclass(frozen=True)
class RunPlan:
    """Everything that determines one run. Two plans of equal identity are the same run."""

    protocol: Protocol
    method: Entry
    params: Settings
    encoders: tuple[FeatureSource, ...]  #: one a round; trained here or released
    texts: TextPlan
    class_texts: ClassTexts
    fields: tuple[str, ...]
    rule: str
    encoder_seed: int
    method_seed: int
    machine: Machine
    results: Path
    choices: tuple[tuple[str, str, str], ...] = ()
    control: Control | None = None  #: None: the classes have their own texts
    rules: tuple[str, ...] = ()  #: all rules requested together, which share fits; empty: ``rule``
    prove: bool = False  #: whether the record must hold a proof
    tuning: TuningPart | None = None  #: the search that ``params`` come from, if any
    gzsl: str = ""  #: kind of GZSL; empty: none
    metric_entries: tuple[Entry, ...] = field(default=(), repr=False)

    @property
    def label(self) -> str:
        """The method, and the rule where several were requested."""
        return f"{self.method.name} {self.rule}" if len(self.rules) > 1 else self.method.name

    @property
    def wants(self) -> tuple[str, ...]:
        return tuple(self.method.spec["wants"])

    @property
    def precision(self) -> str:
        """Mixed only on an accelerator, and only if the method has not switched it off."""
        mixed = self.machine.device != "cpu" and bool(self.params.science.get("amp"))
        return "mixed" if mixed else "float32"

    @property
    def leak(self) -> Literal["", "labels"]:
        """``labels`` if ``score`` gets the true classes, else empty."""
        leaks = any(self.params.science.get(name) for name in self.method.spec.get("leaks", ()))
        return "labels" if leaks else ""

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that can change a score, as JSON values."""
        control = {} if self.control is None else {"control": self.control.identity}
        tuning = {} if self.tuning is None else {"tuning": self.tuning.identity}
        gzsl = {"gzsl": self.gzsl} if self.gzsl else {}
        return self._plain_identity | control | tuning | gzsl

    @cached_property
    def _plain_identity(self) -> dict[str, Any]:
        leak = {"leak": self.leak} if self.leak else {}
        return leak | {
            "version": VERSION,
            "protocol": self.protocol.digest,
            "method": {
                "name": self.method.name,
                "code": self.method.digest,
                "params": self.params.science,
            },
            "features": [plan.key for plan in self.encoders],
            "texts": {
                "features": self.texts.key,
                "classes": self.class_texts.digest(self.fields),
                "fields": list(self.fields),
            },
            "rule": self.rule,
            "seeds": [self.encoder_seed, self.method_seed],
            "precision": self.precision,
            "machine": self.machine.identity,
        }

    @cached_property
    def run_id(self) -> str:
        return digest(self.identity)[:16]

    @cached_property
    def fit_id(self) -> str:
        """Id of the same run with rule ``last`` and without search, text control and GZSL.

        All orders of clips and candidates derive from it. So draws of a control share them (a leak
        by position must not average out), rules share fits and scores, and a GZSL run has the ZSL
        scores of the run without.
        """
        return digest(self._plain_identity | {"rule": LAST})[:16]

    @property
    def folder(self) -> Path:
        """Final folder; if it exists, the run is complete."""
        return self.results / "runs" / self.protocol.folder / self.method.name / self.run_id

    @property
    def part(self) -> Path:
        """Folder of the incomplete run."""
        return self.folder.with_name(f".{self.run_id}.part")

    def round_folder(self, number: int) -> Path:
        """Folder of a round of the incomplete run."""
        return self.part / f"round-{number}"

    def read_round(self, number: int) -> dict[str, Any]:
        """The ``round.json`` of a finished round."""
        content: dict[str, Any] = files.read_json(self.round_folder(number) / "round.json")
        return content

    @property
    def grids(self) -> tuple[int, ...]:
        """Numbers of states to keep of the fit on all seen classes."""
        return tuple(sorted({kept_states(rule) for rule in self.rules or (self.rule,)} - {0}))

    @property
    def done(self) -> bool:
        """Whether its record exists, with a proof if one is requested."""
        if not (self.folder / "run.json").is_file():
            return False
        return not self.prove or proven(self.folder)


def proven(folder: Path) -> bool:
    """Whether the record in a run's folder holds a proof."""
    record = files.read_json(folder / "run.json")
    return bool((record.get("certificate") or {}).get("proof"))
