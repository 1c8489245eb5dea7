"""Many runs: what a command asks for, as tasks that depend on each other.

``plan_runs`` gives one ``RunPlan`` a method and seed; the module ``tasks`` the work still to do,
shared encoders and texts only once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from zsar_bench.catalogue import Catalogue, Entry
from zsar_bench.controls import SHUFFLED_ALL, SHUFFLED_UNSEEN, plan_controls
from zsar_bench.data_choice import choose_data, members, open_data, parse_dials, variants
from zsar_bench.datasets import Dataset, read_classes
from zsar_bench.environment import Machine
from zsar_bench.errors import UserError, nearest
from zsar_bench.feature_choice import Features, choose_encoder, named, released, trained
from zsar_bench.features import EncoderPlan
from zsar_bench.gzsl_rotations import check_gzsl, rehearsals
from zsar_bench.protocol import Protocol
from zsar_bench.request import Request, choose_machine, seed_pairs
from zsar_bench.run_plan import RunPlan
from zsar_bench.sandbox import run_job
from zsar_bench.selection import LAST, parse_rules
from zsar_bench.settings import Settings, check_owners, resolve
from zsar_bench.text_features import TextPlan, text_fingerprint
from zsar_bench.texts import ClassTexts, class_list_texts, read_texts
from zsar_bench.tuned import check_budgets, with_tuned

Event = Callable[[dict[str, Any]], None]


def plan_runs(
    request: Request, catalogue: Catalogue, on_event: Event = lambda event: None
) -> list[RunPlan]:
    """One plan a protocol variant, method, seed pair, draw of a text control and selection rule,
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
        every = [plan for found in each for plan in found]
        check_budgets(every)
        return every
    methods = [catalogue.find("methods", m) for m in dict.fromkeys(request.methods)]
    choice = choose_data(request.protocol, request.wanted_data, catalogue)
    dials = parse_dials(request.dials, choice)
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

    @cache  # variants differ in classes or dials; most share their clips
    def opened(*params: tuple[str, float]) -> Dataset:
        return open_data(choice, dict(params), machine, on_event)

    features: Features[Any]
    plans: list[RunPlan] = []
    for protocol, generator in variants(choice, request.splits, dials):
        if encoder is None:
            features = released(request, protocol, methods)
        else:
            features = trained(encoder, protocol, opened(*generator.items()), machine)
            protocol = _counted(protocol, features)
            for plan in features.of_seed(0) if request.gzsl else ():
                rehearsals(protocol, plan.round, plan.dataset.clips)  # or refused, before work
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
    return with_tuned(plans, request) if request.tuned else plans


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
    features = trained(encoder, choice.protocol, open_data(choice, {}, machine, on_event), machine)
    protocol = _counted(choice.protocol, features)
    data_choice = ("data", choice.entry.name, choice.reason)
    told = [device_choice, data_choice, profile_choice, features.choice]
    return protocol, features.of_seed(request.seeds[0]), told


def check_together(pairs: list[tuple[Entry, Settings]], machine: Machine) -> None:
    """Let the plugins' own classes check what the user set; rules between parameters too."""
    check = [
        {
            "target": entry.name,
            "params_target": entry.spec["params"],
            "params": settings.values,
        }
        for entry, settings in pairs
    ]
    with tempfile.TemporaryDirectory(prefix="zsar-bench-") as folder:
        job = {
            "kind": "check",
            "plugin_files": machine.plugin_files,
            "code": machine.code,
            "code_state": machine.code_state,
            "protected": machine.protected,
            "check": check,
        }
        run_job(job, Path(folder))


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
