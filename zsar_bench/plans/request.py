"""The request of a command, before names in it are looked up: methods, seeds, data, machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from zsar_bench.catalogue.catalogue import Catalogue
from zsar_bench.catalogue.machine import Machine
from zsar_bench.catalogue.settings import Assignment
from zsar_bench.common.files import DEFAULT_RESULTS, NOT_FOR_PLUGINS, home
from zsar_bench.errors import UserError

MAX_SEEDS = 1000


@dataclass(frozen=True)
class Request:
    """What the user typed. ``None``: not named; a value is chosen and reported with a reason."""

    methods: tuple[str, ...]
    protocol: str
    results: Path
    seeds: tuple[int, ...] = (0,)
    method_seeds: tuple[int, ...] | None = None
    fix_encoder: int | None = None
    skeleton_encoder: str | None = None
    text_encoder: str | None = None
    texts: str | None = None
    text_fields: tuple[str, ...] | None = None
    profile: str | None = None
    selection: str | None = None
    prove: bool = False
    data: str = "auto"
    splits: int = 0
    text_control: str | None = None
    draws: int | None = None
    gzsl: str | None = None
    device: str = "auto"
    threads: int = 1
    deterministic: bool = False
    assignments: tuple[Assignment, ...] = ()
    features: Path | None = None
    timeout: float | None = None
    memory: int | None = None
    tuned: bool = False

    @property
    def wanted_data(self) -> str:
        """``wanted`` for ``choose_data``: released features need no clips."""
        return "released" if self.features else self.data


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds from ``0``, ``0,2,5`` or ``0-4``.

    Raises:
        UserError: for anything else.
    """
    wrong = UserError(
        f"'{text}' is not a list of 1 to {MAX_SEEDS} seeds.", "For example: --seeds 0-4"
    )
    seeds: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise wrong
        span = range(int(low), int(high if dash else low) + 1)
        if not span or span.stop - span.start + len(seeds) > MAX_SEEDS:
            raise wrong
        seeds += span
    return tuple(dict.fromkeys(seeds))


def seed_pairs(request: Request) -> list[tuple[int, int]]:
    """Pairs (encoder seed, method seed).

    ``--seeds`` alone pairs each encoder with the method of the same seed; ``--method-seeds``
    crosses them; ``--fix-encoder`` varies the method's seed only. The encoder seed of released
    features is 0.
    """
    if request.features is not None:
        if request.fix_encoder is not None or request.method_seeds is not None:
            raise UserError(
                "Released features have no encoder seed: give the method's seeds with --seeds."
            )
        return [(0, s) for s in request.seeds]
    if request.fix_encoder is not None:
        if request.method_seeds is not None:
            raise UserError("--fix-encoder and --method-seeds exclude each other.")
        return [(request.fix_encoder, s) for s in request.seeds]
    if request.method_seeds is not None:
        return [(e, m) for e in request.seeds for m in request.method_seeds]
    return [(s, s) for s in request.seeds]


def choose_machine(request: Request, catalogue: Catalogue) -> tuple[Machine, tuple[str, str, str]]:
    """Device and threads, with the reason.

    Raises:
        UserError: if CUDA was requested and torch sees none.
    """
    cuda = bool(catalogue.machine.get("cuda"))
    if request.device not in ("auto", "cpu", "cuda"):
        raise UserError(f"Unknown device '{request.device}'.", "Known: auto, cpu, cuda.")
    if request.device == "cuda" and not cuda:
        raise UserError(
            "--device cuda: torch sees no CUDA device here.",
            "Try --device cpu, or see: zsar-bench doctor",
        )
    device = "cuda" if request.device == "cuda" or (request.device == "auto" and cuda) else "cpu"
    reason = (
        "named" if request.device != "auto" else ("torch sees a GPU" if cuda else "no GPU here")
    )
    name = str(catalogue.machine.get("device", "")) if device == "cuda" else ""
    if request.deterministic and device == "cuda":
        reason += "; deterministic"
    machine = Machine(
        device,
        request.threads,
        name,
        plugin_files=tuple(str(p) for p in catalogue.plugin_files),
        code=_code(request, catalogue),
        code_state=catalogue.code_state,
        protected=tuple(str(p.absolute()) for p in (home(), request.results, DEFAULT_RESULTS)),
        timeout=request.timeout,
        memory=request.memory,
        deterministic=request.deterministic,
    )
    return machine, ("device", device, reason)


def _code(request: Request, catalogue: Catalogue) -> tuple[str, ...]:
    """The plugins' files, which workers may read.

    Raises:
        UserError: if one of them lies among files that hold labels.
    """
    stores = [home() / name for name in ("data", "encoders", "features", "texts")]
    results = [
        r.absolute() / n for r in (request.results, DEFAULT_RESULTS) for n in NOT_FOR_PLUGINS
    ]
    places = [place.resolve() for place in (*stores, *results)]
    for name in catalogue.code:
        file = Path(name).resolve()
        if any(file.is_relative_to(place) for place in places):
            raise UserError(
                f"The plugin file {name} lies among prepared data or results.",
                "Move it elsewhere: a plugin's workers may read the files that it declares.",
            )
    return catalogue.code


UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


#: Memory of a worker that has only imported torch.
LEAST = 512 * 2**20


def parse_size(text: str) -> int:
    """Bytes from ``4G``, ``1.5GiB`` or ``800M``; units are powers of 1024.

    Raises:
        UserError: for anything else, and for less than ``LEAST``.
    """
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.I | re.A)
    if match is None:
        raise UserError(f"'{text}' is not a size.", "For example: --memory-limit 4G")
    size = int(float(match[1]) * UNITS[match[2].upper()])
    if size < LEAST:
        raise UserError(
            f"--memory-limit {text} is less than a worker needs to import torch.",
            f"Give at least {LEAST // 2**20}M.",
        )
    return size
