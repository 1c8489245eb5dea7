"""The kinds of jobs of a worker, one function each.

A job holds ``kind``, ``plugin_files``, ``target``, ``params`` and the fields of its kind:

    check    check                                       -> whether parameters fit together
    scan     spec, sources, note                         -> lists the raw clips
    import   spec, sources, folder, note                 -> requests: clips to write to shards
    texts    texts                                       -> their features
    print    (none)                                      -> the text encoder's fingerprint
    encoder  bundle, classes, layout, seed; or state     -> fits, sends the state; encodes requests
    fit      bundle, texts, seed                         -> fits, sends states and checkpoints
    score    states, texts                               -> binds, then scores requests
    metric   (none)                                      -> requests: scores and labels
    report   (none)                                      -> requests: a comparison to render
    workbook file, name                                  -> its sheets
    track    sources                                     -> requests: events for trackers
"""

from __future__ import annotations

import traceback
from collections.abc import Callable

from zsar_bench.catalogue.loading import resolve
from zsar_bench.worker.data_jobs import run_import, run_scan
from zsar_bench.worker.job import Job, Line, build, checked, device_of
from zsar_bench.worker.model_jobs import run_encoder, run_fit, run_score
from zsar_bench.worker.workbook_job import run_workbook


def _run_check(job: Job, line: Line) -> None:
    for entry in job["check"]:
        checked(entry["target"], resolve(entry["params_target"]), entry["params"])
    line.send({"checked": len(job["check"])})


def _run_print(job: Job, line: Line) -> None:
    line.send({"fingerprint": str(build(job).fingerprint())})


def _run_texts(job: Job, line: Line) -> None:
    from zsar_bench.sandbox.wire import real

    device_of(job)
    features = build(job).encode(list(job["texts"]))
    line.send_tensors(
        {
            "pooled": real("pooled", features.pooled).float().cpu().contiguous(),
            "tokens": real("tokens", features.tokens).float().cpu().contiguous(),
            "mask": features.mask.bool().cpu().contiguous(),
        }
    )


def _run_metric(job: Job, line: Line) -> None:
    metric = resolve(job["target"])
    for request in line.requests():
        arrays = {name: tensor.numpy() for name, tensor in request.items()}
        line.send({"value": float(metric(arrays["scores"], arrays["labels"], arrays["subjects"]))})


def _run_report(job: Job, line: Line) -> None:
    report = resolve(job["target"])
    for request in line.requests():
        line.send({"text": str(report(request.pop("comparison"), **request))})


def _run_track(job: Job, line: Line) -> None:
    """Pass events to trackers, one plugin at a time; their exceptions go to the log."""
    import pluggy

    from zsar_bench.catalogue.discovery import load_plugin
    from zsar_bench.hookspecs import GROUP, Hooks

    managers = []
    for source in job["sources"]:
        manager = pluggy.PluginManager(GROUP)
        manager.add_hookspecs(Hooks)
        manager.register(load_plugin(source))
        managers.append(manager)
    line.send({"trackers": len(managers)})
    for event in line.requests():
        for manager in managers:
            try:
                manager.hook.run_event(event=event)
            except Exception:
                traceback.print_exc()
        line.send({"recorded": True})


RUN: dict[str, Callable[[Job, Line], None]] = {
    "check": _run_check,
    "scan": run_scan,
    "import": run_import,
    "print": _run_print,
    "texts": _run_texts,
    "encoder": run_encoder,
    "fit": run_fit,
    "score": run_score,
    "metric": _run_metric,
    "report": _run_report,
    "workbook": run_workbook,
    "track": _run_track,
}
