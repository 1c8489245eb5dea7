"""The output of ``zsar-bench run``: the plan, missing data, results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from zsar_bench.cli.common import console, error_console, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zsar_bench.api.running import Failure, PlannedRuns
    from zsar_bench.plans.run_plan import RunPlan
    from zsar_bench.runs.schedule.tasks import Task

#: Prefixes of the ids of tasks of a single run.
ALONE = ("run:", "round:", "trial:", "proof:", "rotation:", "gzsl:")


def show_missing(command: str, json: bool) -> None:
    """Show that clips are missing, so that nothing can be planned without writing to the store."""
    if json:
        print_json({"runs": [], "tasks": [], "first": command})
        return
    console().print(
        f"Clips have to be made first, which writes to the store. Type: {command}",
        markup=False,
        soft_wrap=True,
    )


def show_plan(planned: PlannedRuns, json: bool) -> None:
    """The runs, the work that they share, what was chosen, and the time."""
    from zsar_bench.reporters.words import seconds

    plans, todo = planned.runs, planned.todo
    left, measured = planned.seconds
    states = [_state(plan) for plan in plans]
    work = [{"task": task.title, "state": _task_state(task, plans)} for task in todo]
    if json:
        rows = [
            {
                "method": plan.method.name,
                "protocol": plan.protocol.id,
                "seeds": [plan.encoder_seed, plan.method_seed],
                "selection": plan.rule,
                "profile": plan.params.profile,
                **_draw(plan),
                "run": plan.run_id,
                "state": state,
            }
            for plan, state in zip(plans, states, strict=True)
        ]
        print_json(
            {
                "runs": rows,
                "tasks": work,
                "choices": [list(choice) for choice in plans[0].choices],
                "jobs": planned.jobs,
                "seconds": round(left, 1),
                "seconds_measured_here": measured,
            }
        )
        return
    cells = [
        [
            plan.label,
            f"{plan.encoder_seed}/{plan.method_seed}",
            plan.params.profile,
            *([str(plan.control.draw)] if plan.control else []),
            plan.run_id,
            state,
        ]
        for plan, state in zip(plans, states, strict=True)
    ]
    control = plans[0].control
    headings = ["method", "seeds", "profile", *(["draw"] if control else []), "run", "state"]
    variant = f", text control {control.kind}" if control else ""
    variant += f", GZSL by a {plans[0].gzsl}" if plans[0].gzsl else ""
    print_table(f"{plans[0].protocol.id}: {len(plans)} runs{variant}", headings, cells)
    shared = [w for task, w in zip(todo, work, strict=True) if not task.id.startswith(ALONE)]
    if shared:
        print_table("Shared work", ("task", "state"), [[w["task"], w["state"]] for w in shared])
    _show_choices(plans)
    basis = (
        "as measured here before" if measured else "as plugins declare it, not yet measured here"
    )
    console().print(f"Estimated time on {planned.jobs} workers: {seconds(left)} ({basis}).")


def _show_choices(plans: list[RunPlan]) -> None:
    """What was chosen for the user, and why."""
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


def show_results(planned: PlannedRuns, failed: Mapping[str, Failure], json: bool) -> list[str]:
    """Print the results; returns faults of records that existed before."""
    from zsar_bench.api.results import compare, sound

    damaged: list[str] = []
    runs = list(sound(planned.done, damaged.append))
    comparison = compare(runs, catalogue=planned.catalogue)
    if json:
        rows = [_run_row(plan, failed) for plan in planned.runs]
        print_json(comparison.data | {"runs": rows, "damaged": damaged})
        return damaged
    out = console()
    if runs:
        _show_choices(planned.runs)
        typer.echo(comparison.to_text(out.width, out.is_terminal), nl=False)
    for message in damaged:
        error_console().print(message, markup=False)
    return damaged


def _draw(plan: RunPlan) -> dict[str, Any]:
    """What a text control, or GZSL, adds to a run's row in JSON."""
    control = plan.control
    gzsl = {"gzsl": plan.gzsl} if plan.gzsl else {}
    return ({"text_control": control.kind, "draw": control.draw} if control else {}) | gzsl


def _run_row(plan: RunPlan, failed: Mapping[str, Failure]) -> dict[str, Any]:
    failure = failed.get(plan.run_id)
    status = "done" if plan.done else failure.status if failure else "failed"
    return {
        "method": plan.method.name,
        "seeds": [plan.encoder_seed, plan.method_seed],
        "selection": plan.rule,
        **_draw(plan),
        "run": plan.run_id,
        "folder": str(plan.folder),
        "status": status,
    }
