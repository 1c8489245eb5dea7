"""A request with all names looked up: entries, settings, machine. Nothing is made yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from zsar_bench.catalogue.catalogue import Catalogue, Entry
from zsar_bench.catalogue.machine import Machine
from zsar_bench.catalogue.settings import Settings, check_owners, resolve
from zsar_bench.data.protocols.protocol import Protocol
from zsar_bench.errors import UserError, nearest
from zsar_bench.features.released.released import check_method
from zsar_bench.plans.choose_data import DataChoice, choose_data, members
from zsar_bench.plans.controls import SHUFFLED_ALL, SHUFFLED_UNSEEN, Control, plan_controls
from zsar_bench.plans.holdouts import check_gzsl
from zsar_bench.plans.request import Request, choose_machine
from zsar_bench.plans.selection import LAST, parse_rules

Choice = tuple[str, str, str]  #: what, value, reason


@dataclass(frozen=True)
class EncoderChoice:
    """The skeleton encoder that is to be trained.

    Attributes:
        entry, settings: the encoder and its parameters.
        choice: what, value, reason.
    """

    entry: Entry
    settings: Settings
    choice: Choice


@dataclass(frozen=True)
class Wanted:
    """A looked-up request on one protocol.

    Attributes:
        request: as it was given.
        data: the protocol and its data set.
        methods: methods with their parameters.
        encoder: to be trained; None where released features take its place.
        text_encoder, text_settings: that reads the class texts.
        machine: where workers compute.
        rules: selection rules that share fits.
        controls: draws of a text control; ``None`` for the classes' own texts.
        metrics: of other people's plugins.
        device_choice, data_choice, profile_choice, text_choice, trackers: what was chosen.
    """

    request: Request
    data: DataChoice
    methods: tuple[tuple[Entry, Settings], ...]
    encoder: EncoderChoice | None
    text_encoder: Entry
    text_settings: Settings
    machine: Machine
    rules: tuple[str, ...]
    controls: tuple[Control | None, ...]
    metrics: tuple[Entry, ...]
    device_choice: Choice
    data_choice: Choice
    profile_choice: Choice
    text_choice: Choice
    trackers: tuple[Choice, ...]

    @property
    def changed(self) -> list[tuple[Entry, Settings]]:
        """Plugins whose parameters may differ from their profiles and need a check."""
        if not self.request.assignments:
            return []  # discovery has checked the profiles
        encoder = [(self.encoder.entry, self.encoder.settings)] if self.encoder else []
        return [*self.methods, (self.text_encoder, self.text_settings), *encoder]


def look_up(request: Request, catalogue: Catalogue) -> list[Wanted]:
    """Look up a request: one result a protocol, several for an average.

    Raises:
        UserError: for anything invalid in the request.
    """
    if not request.methods:
        raise UserError("No method was named.", "See: zsar-bench list methods")
    names = members(request.protocol, catalogue)
    if len(names) == 1:
        return [_look_up(request, catalogue)]
    for option, given in (("--splits", request.splits), ("--features", request.features)):
        if given:
            raise UserError(
                f"'{request.protocol}' is an average; {option} is about one protocol.",
                f"Name one of: {', '.join(names)}",
            )
    return [_look_up(replace(request, protocol=name), catalogue) for name in names]


def _look_up(request: Request, catalogue: Catalogue) -> Wanted:
    methods = [catalogue.find("methods", m) for m in dict.fromkeys(request.methods)]
    data = choose_data(request.protocol, request.wanted_data, catalogue)
    rules = parse_rules(request.selection or LAST)
    _check_control(request, data.protocol)
    released = request.features is not None
    control = request.text_control
    check_gzsl(request.gzsl, data.protocol, methods, rules, released=released, control=control)
    controls = plan_controls(request.text_control, request.draws, len(data.protocol.unseen))
    machine, device_choice = choose_machine(request, catalogue)
    profile, profile_choice = choose_profile(request, machine, methods)
    encoder = choose_encoder(request, catalogue, profile)
    text_encoder, text_choice = named(catalogue, "text_encoders", request.text_encoder)
    owners = [*methods, *([encoder.entry] if encoder else []), text_encoder]
    check_owners(request.assignments, owners)
    if encoder is None:
        for method in methods:
            check_method(method)
    return Wanted(
        request=request,
        data=data,
        methods=tuple((m, resolve(m, profile, request.assignments)) for m in methods),
        encoder=encoder,
        text_encoder=text_encoder,
        text_settings=resolve(text_encoder, profile, request.assignments),
        machine=machine,
        rules=rules,
        controls=tuple(controls),
        metrics=tuple(e for e in catalogue.entries("metrics") if e.plugin != "core"),
        device_choice=device_choice,
        data_choice=data.choice,
        profile_choice=profile_choice,
        text_choice=text_choice,
        trackers=_trackers(catalogue.trackers),
    )


def _trackers(names: Iterable[str]) -> tuple[Choice, ...]:
    """The record's choice about trackers, if there are any."""
    text = ", ".join(names)
    return (("trackers", text, "installed; they get events, and are not confined"),) if text else ()


def _check_control(request: Request, protocol: Protocol) -> None:
    """Refuse shifts where clips differ in their candidates."""
    single_cycle = protocol.one_split and not protocol.own_candidates
    if request.text_control == SHUFFLED_UNSEEN and not single_cycle:
        raise UserError(
            f"'{SHUFFLED_UNSEEN}' shifts texts among all candidates, and the clips of "
            f"'{protocol.id}' differ in theirs.",
            f"Try: --text-control {SHUFFLED_ALL}",
        )


def choose_profile(
    request: Request, machine: Machine, methods: Sequence[Entry]
) -> tuple[str, Choice]:
    """The profile of all plugins, with the reason.

    Raises:
        UserError: if no method has the profile that was named.
    """
    if request.profile is not None:
        known = sorted({p for m in methods for p in m.profiles} | {"paper"})
        if request.profile not in known:
            close = nearest(request.profile, known)
            hint = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}."
            raise UserError(f"Unknown profile '{request.profile}'.", hint)
        return request.profile, ("profile", request.profile, "named")
    if machine.device == "cuda":
        return "paper", ("profile", "paper", "a GPU is there")
    return "laptop", ("profile", "laptop", "no GPU here")


def choose_encoder(request: Request, catalogue: Catalogue, profile: str) -> EncoderChoice | None:
    """The encoder to be trained; None where released features take its place.

    Raises:
        UserError: for an unknown encoder or parameter, or if both are named.
    """
    if request.features is None:
        entry, choice = named(catalogue, "skeleton_encoders", request.skeleton_encoder)
        return EncoderChoice(entry, resolve(entry, profile, request.assignments), choice)
    for option, given in (
        ("--skeleton-encoder", request.skeleton_encoder is not None),
        ("--splits", bool(request.splits)),
        ("--data stand-in", request.data == "stand-in"),
    ):
        if given:
            raise UserError(
                f"--features and {option} exclude each other: released features come from an "
                "encoder of their own, trained on one protocol's real seen clips."
            )
    return None


def named(catalogue: Catalogue, kind: str, name: str | None) -> tuple[Entry, Choice]:
    """The plugin of this kind that was named, or else the default, with the reason."""
    what = kind[:-1].replace("_", " ")
    if name is not None:
        return catalogue.find(kind, name), (what, name, "named")
    entry = catalogue.default(kind)
    return entry, (what, entry.name, f"best available (rank {entry.spec['fallback_rank']})")


@dataclass(frozen=True)
class WantedEncoder:
    """A looked-up request for a skeleton encoder without a method."""

    data: DataChoice
    encoder: EncoderChoice
    machine: Machine
    seed: int
    choices: tuple[Choice, ...]
    changed: bool  #: whether its parameters may differ from its profile


def look_up_encoder(request: Request, catalogue: Catalogue) -> WantedEncoder:
    """The skeleton encoder that a request names; assignments without owner are for it.

    Raises:
        UserError: for anything invalid in the request.
    """
    data = choose_data(request.protocol, request.data, catalogue)
    machine, device_choice = choose_machine(request, catalogue)
    entry, _ = named(catalogue, "skeleton_encoders", request.skeleton_encoder)
    profile, profile_choice = choose_profile(request, machine, [entry])
    given = tuple(a.for_owner(entry.name) for a in request.assignments)
    check_owners(given, [entry])
    encoder = choose_encoder(replace(request, assignments=given), catalogue, profile)
    assert encoder is not None
    choices = (device_choice, data.choice, profile_choice, encoder.choice)
    return WantedEncoder(data, encoder, machine, request.seeds[0], choices, bool(given))
