"""Run plans from a looked-up request and what was prepared for it; without side effects.

The module ``runs.schedule.tasks`` turns them into tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache

from zsar_bench.catalogue.catalogue import Entry
from zsar_bench.catalogue.settings import Settings
from zsar_bench.data.clips.store import Dataset
from zsar_bench.data.protocols.protocol import Protocol
from zsar_bench.data.protocols.splits import make_rounds
from zsar_bench.data.texts.texts import ClassTexts
from zsar_bench.features.encoders import EncoderPlan
from zsar_bench.features.released.released import ReleasedSet
from zsar_bench.features.source import FeatureSource
from zsar_bench.features.text_embeddings import TextPlan
from zsar_bench.plans.choose_data import drawn
from zsar_bench.plans.holdouts import pseudo_unseen_splits
from zsar_bench.plans.request import seed_pairs
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.plans.wanted import Choice, EncoderChoice, Wanted, WantedEncoder

OfSeed = Callable[[int], tuple[EncoderPlan, ...]]


@dataclass(frozen=True)
class Prepared:
    """What is opened, made or computed before runs are planned.

    Attributes:
        class_texts: texts of every class.
        texts_choice: what, value, reason.
        fingerprint: hash of the text encoder's weights.
        dataset: prepared clips; None where released features are used.
        released: those features.
    """

    class_texts: ClassTexts
    texts_choice: Choice
    fingerprint: str
    dataset: Dataset | None = None
    released: ReleasedSet | None = None


def plan_runs(wanted: Wanted, prepared: Prepared) -> list[RunPlan]:
    """One plan a protocol variant, method, seed pair, draw of a text control and selection rule,
    in that order.

    Raises:
        UserError: if a round lacks clips that it needs, or a text field is missing.
    """
    request, texts = wanted.request, prepared.class_texts
    plans: list[RunPlan] = []
    for protocol, features_choice, of_seed in _features(wanted, prepared):
        common = (
            *(wanted.device_choice, wanted.data_choice, wanted.profile_choice),
            *(features_choice, wanted.text_choice, *wanted.trackers, prepared.texts_choice),
        )
        for method, settings in wanted.methods:
            fields = texts.check_fields(request.text_fields or method.spec["text_fields"])
            recipe = "named" if request.text_fields else "the method's recipe"
            text_plan = TextPlan(
                wanted.text_encoder,
                wanted.text_settings,
                prepared.fingerprint,
                _all_texts(texts, fields),
                wanted.machine,
            )
            plans += [
                RunPlan(
                    protocol=protocol,
                    method=method,
                    params=settings,
                    encoders=of_seed(encoder_seed),
                    texts=text_plan,
                    class_texts=texts,
                    fields=fields,
                    rule=rule,
                    rules=wanted.rules,
                    prove=request.prove,
                    gzsl=request.gzsl or "",
                    encoder_seed=encoder_seed,
                    method_seed=method_seed,
                    machine=wanted.machine,
                    results=request.results,
                    choices=(
                        *common,
                        ("text fields", ",".join(fields), recipe),
                        *_leaks(method, settings),
                    ),
                    control=control,
                    metric_entries=wanted.metrics,
                )
                for encoder_seed, method_seed in seed_pairs(request)
                for control in wanted.controls
                for rule in wanted.rules
            ]
    return plans


def _features(
    wanted: Wanted, prepared: Prepared
) -> Iterable[tuple[Protocol, Choice, Callable[[int], tuple[FeatureSource, ...]]]]:
    """Every protocol variant, the choice of features, and encoder seed -> a source a round."""
    released, encoder = prepared.released, wanted.encoder
    if released is not None:
        yield wanted.data.protocol, released.choice, lambda seed: released.sources
        return
    assert encoder is not None
    assert prepared.dataset is not None
    for variant in drawn(wanted.data.protocol, wanted.request.splits):
        of_seed = _encoders(encoder, variant, prepared.dataset, wanted)
        protocol = _counted(variant, of_seed)
        for plan in of_seed(0) if wanted.request.gzsl else ():
            # Refused here, before any work.
            pseudo_unseen_splits(protocol, plan.round, plan.dataset.clips)
        yield protocol, encoder.choice, of_seed


def _encoders(
    encoder: EncoderChoice, protocol: Protocol, dataset: Dataset, wanted: Wanted | WantedEncoder
) -> OfSeed:
    """Encoder seed -> the encoder of every round, trained on a prepared data set.

    Raises:
        UserError: if a round lacks clips that it needs.
    """
    rounds = make_rounds(protocol, dataset)

    @cache  # a plan's key digests all clips' ids: once a seed, not once a run
    def of_seed(seed: int) -> tuple[EncoderPlan, ...]:
        return tuple(
            EncoderPlan(
                encoder.entry, encoder.settings, dataset, part, part.seen, seed, wanted.machine
            )
            for part in rounds
        )

    return of_seed


def plan_encoders(
    wanted: WantedEncoder, dataset: Dataset
) -> tuple[Protocol, tuple[EncoderPlan, ...]]:
    """The skeleton encoder of every round of a protocol.

    Raises:
        UserError: if a round lacks clips that it needs.
    """
    of_seed = _encoders(wanted.encoder, wanted.data.protocol, dataset, wanted)
    return _counted(wanted.data.protocol, of_seed), of_seed(wanted.seed)


def _counted(protocol: Protocol, of_seed: OfSeed) -> Protocol:
    """The protocol; on a stand-in, which is always complete, with its number of test clips."""
    if not protocol.synthetic:
        return protocol
    tested = sum(len(plan.round.test_unseen) for plan in of_seed(0))
    return replace(protocol, test_clips=tested)


def _leaks(method: Entry, settings: Settings) -> list[Choice]:
    """The record's choice of parameters by which ``score`` gets the true classes."""
    on = [name for name in method.spec.get("leaks", ()) if settings.science.get(name)]
    reason = "score gets the test clips' true classes: marked, never ranked"
    return [("leak", ", ".join(on), reason)] if on else []


def _all_texts(texts: ClassTexts, fields: Iterable[str]) -> tuple[str, ...]:
    """Every distinct text of these fields, of all classes, sorted: the cached features do not
    depend on the protocol."""
    return tuple(sorted({text for f in fields for text in texts.fields[f].values()}))
