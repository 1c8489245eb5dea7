"""The hooks: the only extension interface, for built-in and other plugins alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from zsar_bench.registry import Registry

GROUP = "zsar_bench"  #: entry-point group and pluggy project name

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Hooks:
    """All hooks of the harness. A plugin module also sets ``api = 1``."""

    @hookspec
    def register_methods(self, registry: Registry) -> None:
        """Add methods: ``registry.method(MethodSpec(...))``."""

    @hookspec
    def register_skeleton_encoders(self, registry: Registry) -> None:
        """Add skeleton encoders: ``registry.skeleton_encoder(SkeletonEncoderSpec(...))``."""

    @hookspec
    def register_text_encoders(self, registry: Registry) -> None:
        """Add text encoders: ``registry.text_encoder(TextEncoderSpec(...))``."""

    @hookspec
    def register_datasets(self, registry: Registry) -> None:
        """Add data sets: ``registry.dataset(DatasetSpec(...))``."""

    @hookspec
    def register_protocols(self, registry: Registry) -> None:
        """Add protocol files and published results: ``registry.protocols(folder)``."""

    @hookspec
    def register_metrics(self, registry: Registry) -> None:
        """Add metrics: ``registry.metric(MetricSpec(...))``."""

    @hookspec
    def register_reporters(self, registry: Registry) -> None:
        """Add reporters: ``registry.reporter(ReporterSpec(...))``."""

    @hookspec
    def run_event(self, event: dict[str, Any]) -> None:
        """Receive an event of a run: started, progress, finished, failed. For trackers."""
