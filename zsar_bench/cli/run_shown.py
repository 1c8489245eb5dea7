"""What ``zsar-bench run`` shows: the plan, what is missing for it, and what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zsar_bench.cli.common import console, error_console, print_json, print_table

if TYPE_CHECKING:
    from zsar_bench.catalogue.catalogue import Catalogue
    from zsar_bench.plans.run_plan import RunPlan
    from zsar_bench.runs.schedule.tasks import Task


def show_missing(command: str, json: bool) -> None:
    """Clips are not there: nothing can be planned without writing to the store."""
    if json:
        print_json({"runs": [], "tasks": [], "first": command})
        return
    console().print(
        f"Clips have to be made first, which writes to the store. Type: {command}",
        markup=False,
        soft_wrap=True,
    )


def show_plan(plans: list[RunPlan], jobs: int, json: bool) -> None:
    from zsar_bench.reporters.words import seconds
    from zsar_bench.runs.schedule.estimate import estimate
    from zsar_bench.runs.schedule.tasks import tasks

    todo = tasks(plans)
    wall, measured = estimate(todo, plans, jobs)
    states = [_state(p) for p in plans]
    rows = [
        {
            "method": p.method.name,
            "protocol": p.protocol.id,
            "seeds": [p.encoder_seed, p.method_seed],
            "selection": p.rule,
            "profile": p.params.profile,
            **_draw(p),
            "run": p.run_id,
            "state": state,
        }
        for p, state in zip(plans, states, strict=True)
    ]
    work = [{"task": t.title, "state": _task_state(t, plans)} for t in todo]
    if json:
        print_json(
            {
                "runs": rows,
                "tasks": work,
                "choices": [list(c) for c in plans[0].choices],
                "jobs": jobs,
                "seconds": round(wall, 1),
                "seconds_measured_here": measured,
            }
        )
        return
    cells = [
        [
            p.label,
            f"{p.encoder_seed}/{p.method_seed}",
            p.params.profile,
            *([str(p.control.draw)] if p.control else []),
            p.run_id,
            state,
        ]
        for p, state in zip(plans, states, strict=True)
    ]
    control = plans[0].control
    headings = ["method", "seeds", "profile", *(["draw"] if control else []), "run", "state"]
    about = f", text control {control.kind}" if control else ""
    about += f", GZSL by a {plans[0].gzsl}" if plans[0].gzsl else ""
    print_table(f"{plans[0].protocol.id}: {len(plans)} runs{about}", headings, cells)
    own = ("run:", "round:", "trial:", "proof:", "rotation:", "gzsl:")
    shared = [w for t, w in zip(todo, work, strict=True) if not t.id.startswith(own)]
    if shared:
        print_table("Shared work", ("task", "state"), [[w["task"], w["state"]] for w in shared])
    _show_choices(plans)
    basis = (
        "as measured here before" if measured else "as plugins declare it, not yet measured here"
    )
    console().print(f"Estimated time on {jobs} workers: {seconds(wall)} ({basis}).")


def _show_choices(plans: list[RunPlan]) -> None:
    """Say what was chosen for the user, and why."""
    for what, value, reason in plans[0].choices:
        console().print(f"{what}: {value} ({reason})", style="dim", markup=False)


def _state(plan: RunPlan) -> str:
    if plan.done:
        return "cached"
    return "to be continued" if plan.part.is_dir() else "new"


def _task_state(task: Task, plans: list[RunPlan]) -> str:
    """Whether a shared task's result is in the cache already."""
    plan = next(p for p in plans if p.run_id in task.runs)
    if task.id.startswith("texts:"):
        return "cached" if plan.texts.file.is_file() else "new"
    for encoder in plan.encoders:
        if task.id.startswith(f"encoder:{encoder.key}"):
            return "cached" if encoder.ready(plan.wants) else "new"
    return "new"


def show_results(
    plans: list[RunPlan], catalogue: Catalogue, json: bool, failed: dict[str, str]
) -> list[str]:
    """Print what came out; returns what is wrong with records that were there before."""
    from zsar_bench.compare.published import read_published
    from zsar_bench.compare.sections import compare
    from zsar_bench.data.protocols.lookup import load_groups
    from zsar_bench.records.files import load_records
    from zsar_bench.reporters.table import render

    done = [p.folder for p in plans if p.done]
    records, damaged = load_records(done)
    published = read_published(catalogue.published_folders)
    comparison = compare(records, published, load_groups(catalogue))
    if json:
        comparison["runs"] = [_run_row(p, failed) for p in plans]
        comparison["damaged"] = damaged
        print_json(comparison)
        return damaged
    out = console()
    if records:
        _show_choices(plans)
        out.print(render(comparison, out.width))
    for message in damaged:
        error_console().print(message, markup=False)
    return damaged


def _draw(plan: RunPlan) -> dict[str, Any]:
    """What a text control, or GZSL, adds to a run's row in JSON."""
    control = plan.control
    gzsl = {"gzsl": plan.gzsl} if plan.gzsl else {}
    return ({"text_control": control.kind, "draw": control.draw} if control else {}) | gzsl


def _run_row(plan: RunPlan, failed: dict[str, str]) -> dict[str, Any]:
    return {
        "method": plan.method.name,
        "seeds": [plan.encoder_seed, plan.method_seed],
        "selection": plan.rule,
        **_draw(plan),
        "run": plan.run_id,
        "folder": str(plan.folder),
        "status": "done" if plan.done else failed.get(plan.run_id, "failed"),
    }
