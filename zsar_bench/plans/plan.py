"""Many runs: what a command asks for, as tasks that depend on each other.

``plan_runs`` gives one ``RunPlan`` a method and seed; the module ``tasks`` the work still to do,
shared encoders and texts only once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from zsar_bench.catalogue.catalogue import Catalogue, Entry
from zsar_bench.catalogue.machine import Machine
from zsar_bench.catalogue.settings import Settings, check_owners, check_together, resolve
from zsar_bench.common.classes import read_classes
from zsar_bench.common.events import Event
from zsar_bench.data.clips.store import Dataset
from zsar_bench.data.protocols.protocol import Protocol
from zsar_bench.data.protocols.splits import make_rounds
from zsar_bench.data.texts.texts import ClassTexts, class_list_texts, read_texts
from zsar_bench.errors import UserError, nearest
from zsar_bench.features.encoders import EncoderPlan
from zsar_bench.features.released.released import check_method, open_released
from zsar_bench.features.source import FeatureSource
from zsar_bench.features.text_embeddings import TextPlan, text_fingerprint
from zsar_bench.plans.choose_data import choose_data, drawn, members, open_data
from zsar_bench.plans.controls import SHUFFLED_ALL, SHUFFLED_UNSEEN, plan_controls
from zsar_bench.plans.holdouts import check_gzsl, pseudo_unseen_splits
from zsar_bench.plans.request import Request, choose_machine, seed_pairs
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.plans.selection import LAST, parse_rules


def plan_runs(
    request: Request, catalogue: Catalogue, on_event: Event = lambda event: None
) -> list[RunPlan]:
    """One plan a class split, method, seed pair, draw of a text control and selection rule,
    in that order; for an average, those of all its members.

    Args:
        request: what was asked for.
        catalogue: what there is.
        on_event: hears how far a stand-in is that has to be made first.

    Raises:
        UserError: for anything in the request that cannot be.
    """
    if not request.methods:
        raise UserError("No method was named.", "See: zsar-bench list methods")
    names = members(request.protocol, catalogue)
    if len(names) > 1:
        _check_average(request, names)
        each = [plan_runs(replace(request, protocol=n), catalogue, on_event) for n in names]
        return [plan for found in each for plan in found]
    methods = [catalogue.find("methods", m) for m in dict.fromkeys(request.methods)]
    choice = choose_data(request.protocol, request.wanted_data, catalogue)
    rules = parse_rules(request.selection or LAST)
    _check_control(request, choice.protocol)
    check_gzsl(
        request.gzsl,
        choice.protocol,
        methods,
        rules,
        released=request.features is not None,
        control=request.text_control,
    )
    controls = plan_controls(request.text_control, request.draws, len(choice.protocol.unseen))
    machine, device_choice = choose_machine(request, catalogue)
    profile, profile_choice = _profile(request, machine, methods)
    encoder = choose_encoder(request, catalogue, profile)
    text_encoder, text_choice = named(catalogue, "text_encoders", request.text_encoder)
    own = [encoder.entry] if encoder else []
    check_owners(request.assignments, [*methods, *own, text_encoder])
    text_settings = resolve(text_encoder, profile, request.assignments)
    params = [resolve(m, profile, request.assignments) for m in methods]
    class_texts, texts_choice = _class_texts(request, choice.entry.spec)
    if request.assignments:  # profiles as they are were checked by the discovery child
        pairs = [*zip(methods, params, strict=True), (text_encoder, text_settings)]
        pairs += [(encoder.entry, encoder.settings)] if encoder else []
        check_together(pairs, machine)
    fingerprint = text_fingerprint(text_encoder, text_settings, machine)
    data_choice = ("data", choice.entry.name, choice.reason)
    metrics = tuple(e for e in catalogue.entries("metrics") if e.plugin != "core")

    @cache  # all splits share their clips
    def opened() -> Dataset:
        return open_data(choice, machine, on_event)

    features: Features[Any]
    plans: list[RunPlan] = []
    for protocol in drawn(choice.protocol, request.splits):
        if encoder is None:
            features = released(request, protocol, methods)
        else:
            features = trained(encoder, protocol, opened(), machine)
            protocol = _counted(protocol, features)
            for plan in features.of_seed(0) if request.gzsl else ():
                pseudo_unseen_splits(
                    protocol, plan.round, plan.dataset.clips
                )  # or refused, before work
        chosen = (device_choice, data_choice, profile_choice, features.choice, text_choice)
        common = (*chosen, *_trackers(catalogue))
        for method, settings in zip(methods, params, strict=True):
            fields = class_texts.check_fields(request.text_fields or method.spec["text_fields"])
            recipe = "named" if request.text_fields else "the method's recipe"
            texts = TextPlan(
                text_encoder, text_settings, fingerprint, _all_texts(class_texts, fields), machine
            )
            plans += [
                RunPlan(
                    protocol=protocol,
                    method=method,
                    params=settings,
                    encoders=features.of_seed(encoder_seed),
                    texts=texts,
                    class_texts=class_texts,
                    fields=fields,
                    rule=rule,
                    rules=rules,
                    prove=request.prove,
                    gzsl=request.gzsl or "",
                    encoder_seed=encoder_seed,
                    method_seed=method_seed,
                    machine=machine,
                    results=request.results,
                    choices=(
                        *common,
                        texts_choice,
                        ("text fields", ",".join(fields), recipe),
                        *_leaks(method, settings),
                    ),
                    control=control,
                    metric_entries=metrics,
                )
                for encoder_seed, method_seed in seed_pairs(request)
                for control in controls
                for rule in rules
            ]
    return plans


def _trackers(catalogue: Catalogue) -> list[tuple[str, str, str]]:
    """What a record says of trackers, if there are any."""
    names = ", ".join(catalogue.trackers)
    said = "installed; they hear of runs, and are not confined"
    return [("trackers", names, said)] if names else []


def _leaks(method: Entry, settings: Settings) -> list[tuple[str, str, str]]:
    """What a record says of parameters under which the method is told what it should find out."""
    on = [name for name in method.spec.get("leaks", ()) if settings.science.get(name)]
    said = "score gets the test clips' true classes: marked, never ranked"
    return [("leak", ", ".join(on), said)] if on else []


def _check_average(request: Request, names: Sequence[str]) -> None:
    """An average is of its own splits, whose features differ."""
    for option, given in (("--splits", request.splits), ("--features", request.features)):
        if given:
            raise UserError(
                f"'{request.protocol}' is an average; {option} is about one protocol.",
                f"Name one of: {', '.join(names)}",
            )


def _check_control(request: Request, protocol: Protocol) -> None:
    """Shifts are one cycle of one set of candidates."""
    one_cycle = protocol.one_split and not protocol.own_candidates
    if request.text_control == SHUFFLED_UNSEEN and not one_cycle:
        raise UserError(
            f"'{SHUFFLED_UNSEEN}' shifts texts among all candidates, and the clips of "
            f"'{protocol.id}' differ in theirs.",
            f"Try: --text-control {SHUFFLED_ALL}",
        )


def _counted(protocol: Protocol, features: Features[EncoderPlan]) -> Protocol:
    """A stand-in is complete by construction: its test clips are those it has."""
    if not protocol.synthetic:
        return protocol
    tested = sum(len(plan.round.test_unseen) for plan in features.of_seed(0))
    return replace(protocol, test_clips=tested)


def plan_encoders(
    request: Request, catalogue: Catalogue, on_event: Event = lambda event: None
) -> tuple[Protocol, tuple[EncoderPlan, ...], list[tuple[str, str, str]]]:
    """The skeleton encoders of a protocol's rounds for the first seed, without any method.

    An assignment without owner is meant for the encoder.

    Returns:
        The protocol, one plan a round, and what was chosen with the reasons.

    Raises:
        UserError: for anything in the request that cannot be.
    """
    choice = choose_data(request.protocol, request.data, catalogue)
    machine, device_choice = choose_machine(request, catalogue)
    entry, _ = named(catalogue, "skeleton_encoders", request.skeleton_encoder)
    profile, profile_choice = _profile(request, machine, [entry])
    own = tuple(replace(a, owner=a.owner or entry.name) for a in request.assignments)
    check_owners(own, [entry])
    encoder = choose_encoder(replace(request, assignments=own), catalogue, profile)
    assert encoder is not None
    if own:
        check_together([(entry, encoder.settings)], machine)
    features = trained(encoder, choice.protocol, open_data(choice, machine, on_event), machine)
    protocol = _counted(choice.protocol, features)
    data_choice = ("data", choice.entry.name, choice.reason)
    told = [device_choice, data_choice, profile_choice, features.choice]
    return protocol, features.of_seed(request.seeds[0]), told


def _profile(
    request: Request, machine: Machine, methods: Sequence[Entry]
) -> tuple[str, tuple[str, str, str]]:
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


def _class_texts(request: Request, spec: dict[str, Any]) -> tuple[ClassTexts, tuple[str, str, str]]:
    sets = spec["texts"]
    if not sets and request.texts is None:
        if request.text_fields is None:
            raise UserError(
                f"The data set '{spec['name']}' has no class texts.",
                "Give --texts FILE (.toml, .csv, .txt, .xlsx) or a folder of them; or, for what "
                "the class list has, --text-fields name",
            )
        texts = class_list_texts(read_classes(Path(spec["classes"])))
        return texts, ("class texts", texts.name, "the data set has no text set")
    name = request.texts or min(sets)
    reason = "named" if request.texts else "first of the data set's text sets"
    texts = read_texts(name, sets, read_classes(Path(spec["classes"])))
    if texts.about:
        reason = f"{reason}: {texts.about}"
    return texts, ("class texts", texts.name, reason)


def _all_texts(texts: ClassTexts, fields: Iterable[str]) -> tuple[str, ...]:
    """Every distinct text of these fields, of seen and unseen classes alike, sorted: the
    cached features then do not depend on the protocol."""
    return tuple(sorted({text for f in fields for text in texts.fields[f].values()}))


Choice = tuple[str, str, str]  #: what, value, reason


Source = TypeVar("Source", bound=FeatureSource, covariant=True)


@dataclass(frozen=True)
class Features(Generic[Source]):
    """Where the features of a command's runs come from.

    Attributes:
        choice: as a command shows it.
        of_seed: encoder seed -> the features of every round.
    """

    choice: Choice
    of_seed: Callable[[int], tuple[Source, ...]]


@dataclass(frozen=True)
class EncoderChoice:
    """The skeleton encoder that a command trains.

    Attributes:
        entry, settings: the encoder and its parameters.
        choice: as a command shows it.
    """

    entry: Entry
    settings: Settings
    choice: Choice


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


def released(request: Request, protocol: Protocol, methods: Sequence[Entry]) -> Features[Any]:
    """The released features that were named.

    Raises:
        UserError: for features that do not fit the methods or the protocol.
    """
    assert request.features is not None
    for method in methods:
        check_method(method)
    found = open_released(request.features, protocol)
    return Features(found.said, lambda seed: found.sources)


def trained(
    encoder: EncoderChoice, protocol: Protocol, dataset: Dataset, machine: Machine
) -> Features[EncoderPlan]:
    """The features of an encoder that is trained on a prepared data set, one a round.

    Raises:
        UserError: if a round lacks clips that it needs.
    """
    rounds = make_rounds(protocol, dataset)

    @cache  # a plan's key is a digest of all clips' ids: one a seed, not one a run
    def of_seed(seed: int) -> tuple[EncoderPlan, ...]:
        return tuple(
            EncoderPlan(encoder.entry, encoder.settings, dataset, one, one.seen, seed, machine)
            for one in rounds
        )

    return Features(encoder.choice, of_seed)


def named(catalogue: Catalogue, kind: str, name: str | None) -> tuple[Entry, Choice]:
    """The plugin of this kind that was named, or else the default, with the reason."""
    what = kind[:-1].replace("_", " ")
    if name is not None:
        return catalogue.find(kind, name), (what, name, "named")
    entry = catalogue.default(kind)
    return entry, (what, entry.name, f"best available (rank {entry.spec['fallback_rank']})")
