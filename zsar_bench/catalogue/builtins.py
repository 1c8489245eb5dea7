"""The built-in plugin, registered through the same hooks as all others."""

from __future__ import annotations

from zsar_bench.catalogue.custom import custom_folder, custom_names, custom_spec
from zsar_bench.errors import UserError
from zsar_bench.hookspecs import hookimpl
from zsar_bench.registry import Registry
from zsar_bench.specs import MetricSpec, ReporterSpec

api = 1


@hookimpl
def register_datasets(registry: Registry) -> None:
    for name in custom_names():
        try:
            registry.dataset(custom_spec(custom_folder(name)))
        except UserError as error:
            registry.refuse("datasets", name, error.what)


@hookimpl
def register_metrics(registry: Registry) -> None:
    registry.metric(
        MetricSpec(
            name="top1",
            target="zsar_bench.metrics.accuracy:top1_accuracy",
            summary="share of clips whose highest score is their class (ties share credit)",
        )
    )
    registry.metric(
        MetricSpec(
            name="mean_class",
            target="zsar_bench.metrics.accuracy:mean_class_accuracy",
            summary="mean over classes of the share of their clips that are right",
        )
    )


@hookimpl
def register_reporters(registry: Registry) -> None:
    registry.reporter(
        ReporterSpec(
            name="table",
            target="zsar_bench.reporters.table:report",
            summary="tables for the terminal",
        )
    )
    registry.reporter(
        ReporterSpec(
            name="markdown",
            target="zsar_bench.reporters.markdown:report",
            summary="GitHub-flavoured Markdown tables",
        )
    )
    registry.reporter(
        ReporterSpec(
            name="json",
            target="zsar_bench.reporters.json:report",
            summary="everything the tables hold, and more, as JSON",
        )
    )
