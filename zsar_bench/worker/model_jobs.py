"""Jobs that fit encoders and methods, and that encode and score clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsar_bench.worker.job import Job, Line, build, device_of

if TYPE_CHECKING:
    import torch

    from zsar_bench.views import Clips, SeenTrain, SkeletonInputs, TextBank
    from zsar_bench.worker.context import Fit


def read_clips(bundle: list[dict[str, Any]], layout: dict[str, Any]) -> Clips:
    """The clips of a bundle's shards, in the bundle's order."""
    import numpy as np
    import torch

    from zsar_bench.sandbox.wire import clips_from_flat, layout_from_json

    lengths = [n for row in bundle for n in row["lengths"]]
    flat = np.empty((0,), np.float32)
    start = 0
    for row in bundle:  # one open file at a time: there may be tens of thousands
        shard = np.load(row["file"], mmap_mode="r", allow_pickle=False)
        if not start:
            flat = np.empty((sum(lengths), *shard.shape[1:]), np.float32)
        flat[start : start + len(shard)] = shard
        start += len(shard)
    return clips_from_flat(torch.from_numpy(flat), lengths, layout_from_json(layout))


def _labels(bundle: list[dict[str, Any]], key: str) -> torch.Tensor:
    import torch

    return torch.tensor([row[key] for row in bundle for _ in row["lengths"]], dtype=torch.int64)


def _context(
    job: Job, line: Line, texts: TextBank, device: torch.device, encoder: Any, state: Any
) -> Fit:
    from zsar_bench.common.checksums import sealed_content
    from zsar_bench.worker.context import Fit

    workdir = Path(job["workdir"]) / "own"
    workdir.mkdir()
    return Fit(
        seed=job["seed"],
        device=device,
        threads=job["threads"],
        texts=texts,
        unseen_texts=_read_unseen(job, device),
        encoder=encoder,
        workdir=workdir,
        line=line,
        state=state,
        checkpoint=sealed_content(Path(job["checkpoint"]), job["owner"])
        if job["checkpoint"]
        else None,
        checkpoint_seconds=job["checkpoint_seconds"],
        grids=tuple(job.get("grids", ())),
        probe=job.get("probe", False),
    )


def _read_unseen(job: Job, device: torch.device) -> TextBank | None:
    """The unseen texts, if the setting may read them in fit; else None."""
    from zsar_bench.sandbox.wire import read_bank

    path = job.get("unseen_texts")
    return None if path is None else read_bank(Path(path), job["fields"]).to(device)


def _send_state(line: Line, state: dict[str, torch.Tensor], total: int) -> None:
    """Send the state of a finished fit."""
    import torch

    from zsar_bench.worker.context import send

    bad = [n for n, t in state.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if bad:
        raise ValueError(f"the fitted state is not finite: {', '.join(bad[:3])}")
    send(line, {"fitted": True, "total": total}, state)


def _load_state(path: str, device: torch.device, owner: str = "") -> dict[str, torch.Tensor]:
    """A state that the parent has stored: sealed for its owner, or an encoder's unsealed one."""
    from zsar_bench.common.checksums import sealed_content
    from zsar_bench.sandbox.wire import unpack

    file = Path(path)
    unsealed = file.suffix == ".safetensors"
    blob = file.read_bytes() if unsealed else sealed_content(file, owner)
    return {name: tensor.to(device) for name, tensor in unpack(blob).items()}


def _out_of_memory(error: BaseException) -> bool:
    """Whether fewer rows at once could succeed."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError)


def _chunk(line: Line, rows: int, work: Callable[[], dict[str, torch.Tensor]]) -> None:
    """Answer a request for some rows, or report that they are too many for the memory."""
    import gc

    import torch

    try:
        line.send_tensors(work())
        return
    except Exception as error:
        if rows < 2 or not _out_of_memory(error):
            raise
    gc.collect()  # after the except block: the exception referenced the tensors
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    line.send({"too many": rows})


def run_encoder(job: Job, line: Line) -> None:
    from zsar_bench.sandbox.wire import clips_from_flat, features_to_tensors, layout_from_json
    from zsar_bench.views import EncoderTrain, TextBank

    device = device_of(job)
    if job["state"]:
        state = _load_state(job["state"], device)
    else:
        encoder = build(job)
        train = EncoderTrain(
            clips=read_clips(job["bundle"], job["layout"]).to(device),
            labels=_labels(job["bundle"], "label").to(device),
            subjects=_labels(job["bundle"], "subject").to(device),
            classes=job["classes"],
        )
        context = _context(job, line, TextBank({}), device, None, encoder.state_dict)
        encoder.fit(train, context)
        state = {name: t.detach().clone() for name, t in encoder.state_dict().items()}
        _send_state(line, state, context.total)
    encoder = build(job)
    encoder.load_state_dict(state)
    layout = layout_from_json(job["layout"])
    line.send({"ready": True})
    for request in line.requests():
        lengths = request["lengths"].tolist()
        clips = clips_from_flat(request["flat"], lengths, layout)

        def encode(clips: Clips = clips) -> dict[str, torch.Tensor]:
            return features_to_tensors(encoder.encode(clips.to(device)), job["wants"])

        _chunk(line, len(lengths), encode)


def _read_train(job: Job) -> SeenTrain:
    """The seen training clips of a fit bundle."""
    import torch
    from safetensors.torch import load_file

    from zsar_bench.sandbox.wire import PER_CLIP, PER_TOKEN, inputs_from_tensors
    from zsar_bench.views import SeenTrain

    parts: dict[str, list[torch.Tensor]] = {}
    for row in job["bundle"]:
        for file in row["features"]:
            for name, tensor in load_file(file).items():
                parts.setdefault(name, []).append(tensor)
    view = {"pooled", *job["wants"]} & set(PER_CLIP)
    tensors = {n: torch.cat(ts) for n, ts in parts.items() if n in view}
    tensors |= {n: ts[0] for n, ts in parts.items() if n in PER_TOKEN}
    clips = read_clips(job["bundle"], job["layout"]) if job["clips"] else None
    return SeenTrain(
        inputs=inputs_from_tensors(tensors, clips),
        labels=_labels(job["bundle"], "label"),
        subjects=_labels(job["bundle"], "subject"),
    )


def _read_encoder(job: Job, device: torch.device) -> Any:
    """The trained skeleton encoder, if the method declared that it needs it; else None."""
    encoder_job = job.get("encoder")
    if encoder_job is None:
        return None
    encoder = build(encoder_job)
    encoder.load_state_dict(_load_state(encoder_job["state"], device))
    return encoder


def run_fit(job: Job, line: Line) -> None:
    from zsar_bench.sandbox.wire import read_bank
    from zsar_bench.views import SeenTrain
    from zsar_bench.worker.context import Probed

    device = device_of(job)
    method = build(job)
    train = _read_train(job)
    train = SeenTrain(train.inputs.to(device), train.labels.to(device), train.subjects.to(device))
    texts = read_bank(Path(job["texts"]), job["fields"]).to(device)
    encoder = _read_encoder(job, device)
    context = _context(job, line, texts, device, encoder, method.state_dict)
    try:
        method.fit(train, context)
    except Probed:
        line.send({"probed": True})
        return
    _send_state(line, dict(method.state_dict()), context.total)


def run_score(job: Job, line: Line) -> None:
    import torch

    from zsar_bench.sandbox.wire import (
        clips_from_flat,
        inputs_from_tensors,
        layout_from_json,
        read_bank,
    )

    device = device_of(job)
    candidates = read_bank(Path(job["texts"]), job["fields"]).to(device)

    def bound(state: str) -> Any:
        # loaded again: a state may have overwritten its weights
        encoder = _read_encoder(job, device)
        torch.manual_seed(job["seed"])
        method = build(job)
        if encoder is not None and hasattr(method, "take_encoder"):
            method.take_encoder(encoder)
        method.load_state_dict(_load_state(state, device, job["owner"]))
        method.bind(candidates)
        line.send({"bound": len(candidates)})
        return method

    method = bound(job["states"][0])
    adapt = job["adapt"]  # if True, the first request holds all clips
    for request in line.requests():
        if "use" in request:
            method, adapt = bound(job["states"][request["use"]]), job["adapt"]
            continue
        flat, lengths = request.pop("flat", None), request.pop("lengths", None)
        clips = None
        if flat is not None:
            clips = clips_from_flat(flat, lengths.tolist(), layout_from_json(job["layout"]))
        inputs = inputs_from_tensors(request, clips).to(device)
        if adapt:
            method.adapt(inputs)
            adapt = False
            line.send({"adapted": len(inputs)})
            continue

        def score(method: Any = method, inputs: SkeletonInputs = inputs) -> dict[str, Any]:
            return {"scores": _checked_scores(method.score(inputs), len(inputs), len(candidates))}

        _chunk(line, len(inputs), score)


def _checked_scores(scores: Any, clips: int, classes: int) -> torch.Tensor:
    """Checked scores (clips, classes), float32, on the CPU.

    Raises:
        TypeError, ValueError: if type or shape are wrong.
    """
    import torch

    if not isinstance(scores, torch.Tensor) or not scores.is_floating_point():
        what = scores.dtype if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise TypeError(f"score() returned {what}, not a tensor of floating-point numbers")
    if tuple(scores.shape) != (clips, classes):
        raise ValueError(
            f"score() returned the shape {tuple(scores.shape)}, not ({clips}, {classes})"
        )
    return scores.detach().float().cpu().contiguous()
