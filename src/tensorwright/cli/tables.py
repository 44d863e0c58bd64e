"""Reports of plans and graphs as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from rich.console import Console
from rich.table import Table

from tensorwright.base.text import format_bytes
from tensorwright.cli.command import shown
from tensorwright.cli.roofline import MATTERS, NEAR_ENOUGH, Roof, Standing, findings, standing
from tensorwright.picture.times import Timing
from tensorwright.plan.plan import Json, Plan
from tensorwright.plan.stamp import libraries_text, target_text
from tensorwright.runtime.bindings import format_shape
from tensorwright.runtime.profiler import Profile

JsonObject = Mapping[str, Json]
SHOWN_TRIALS = 8


@dataclass(frozen=True)
class Rate:
    """How fast a step is: its flops in a time, and the share of what the machine could do in it."""

    milliseconds: float | None
    gflops: float | None
    share: float | None


def steps_of(report: JsonObject) -> list[JsonObject]:
    """The steps of a report."""
    steps = report.get("steps")
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


def rate(step: JsonObject, milliseconds: float | None, peak: float | None) -> Rate:
    """The rate of a step that takes so long; `peak` in GFLOP/s."""
    flops = step.get("flops")
    if milliseconds is None or not isinstance(flops, int) or milliseconds <= 0:
        return Rate(milliseconds, None, None)
    gflops = flops / milliseconds / 1e6
    return Rate(milliseconds, gflops, None if peak is None else gflops / peak)


def measured(step: JsonObject) -> float | None:
    """The milliseconds that the tuner measured for a step."""
    found = step.get("milliseconds")
    return float(found) if isinstance(found, int | float) else None


def plan_header(plan: Plan) -> Table:
    """Who made a plan, for which machine, and its inputs and outputs."""
    table = Table.grid(padding=(0, 2))
    stamp = plan.stamp
    rows = [
        ("network", plan.name),
        ("built by", f"tensorwright {stamp.package_version}"),
        ("machine", f"{stamp.model}, {stamp.architecture} {stamp.operating_system}, {target_text(stamp)}"),
        ("threads", str(plan.threads)),
        ("barriers", _barriers(plan)),
        ("code", format_bytes(len(plan.executable.code))),
        ("weights", format_bytes(plan.weights.nbytes)),
        ("arena", _arena(plan)),
        ("workspace", f"{format_bytes(plan.workspace_bytes)} per thread"),
    ]
    if plan.executable.libraries:
        rows.append(("libraries", libraries_text(plan)))
    rows += [(b.mode, f"{b.name}: {b.type.dtype.name} {format_shape(b.type.shape)}") for b in plan.bindings]
    for name, value in rows:
        table.add_row(f"[bold]{name}[/]", shown(value))
    return table


def _barriers(plan: Plan) -> str:
    """Before how many steps the plan's threads wait for each other."""
    found = plan.report.get("barriers")
    if not isinstance(found, dict):
        return "unknown"
    return f"{found.get('kept')} between {len(cast('list[Json]', plan.report.get('steps', [])))} steps"


def _arena(plan: Plan) -> str:
    arena = plan.report.get("arena")
    if not isinstance(arena, dict) or not isinstance(arena.get("lower_bound"), int):
        return format_bytes(plan.arena_bytes)
    bound = cast("int", arena["lower_bound"])
    ratio = plan.arena_bytes / bound if bound else 1.0
    return f"{format_bytes(plan.arena_bytes)}, lower bound {format_bytes(bound)}, ratio {ratio:.3f}"


@dataclass(frozen=True)
class StepRow:
    """A step with its time: as measured by the tuner for one thread's share alone, or now in the network."""

    step: JsonObject
    rate: Rate
    standing: Standing | None


def step_rows(report: JsonObject, roof: Roof | None, profile: Profile | None) -> list[StepRow]:
    """All steps; where they stand beside the roofline only when they were profiled."""
    rows = []
    for number, step in enumerate(steps_of(report)):
        time = measured(step) if profile is None else profile.steps[number].nanoseconds * 1e-6
        found = None if profile is None else standing(step, time, roof)
        rows.append(StepRow(step, rate(step, time, roof.peak(step.get("precision")) if roof else None), found))
    return rows


def timings(rows: Sequence[StepRow], *, profiled: bool) -> list[Timing]:
    """The times of all steps for a picture: estimates where nothing was measured."""
    return [_timing(row, profiled) for row in rows]


def _timing(row: StepRow, profiled: bool) -> Timing:
    time, estimate, standing = row.rate.milliseconds, row.step.get("estimate"), row.standing
    if time is not None:
        where = (None, None) if standing is None else (standing.bound, standing.share)
        return Timing(time, "profiled" if profiled else "measured", *where)
    return Timing(float(estimate), "estimated") if isinstance(estimate, int | float) else Timing(0.0, "unknown")


def slow_steps(rows: Sequence[StepRow]) -> list[int]:
    """The numbers of the steps that matter and are far from their roofline."""
    return findings([row.standing for row in rows], [row.rate.milliseconds or 0.0 for row in rows])


def steps_table(rows: Sequence[StepRow]) -> Table:
    """One row per step: layers, tactic, config, time, rates, shares of the machine's peak and of the roofline."""
    table = Table(title="Steps", title_justify="left", header_style="bold")
    for name in ("layers", "tactic", "config", "precision", "output"):
        table.add_column(name, overflow="fold")
    for name in ("tasks", "ms", "GFLOP/s", "% of peak", "GB/s", "bound by", "% of roofline"):
        table.add_column(name, justify="right")
    slow = slow_steps(rows)
    for number, row in enumerate(rows):
        cells = [str(row.step.get(key, "")) for key in ("name", "tactic", "config", "precision", "output", "tasks")]
        style = "bold red" if number in slow else None
        table.add_row(*map(shown, cells), *_rate_cells(row.rate), *_standing_cells(row.standing), style=style)
    table.add_section()
    total = sum(row.rate.milliseconds or 0.0 for row in rows)
    table.add_row("[bold]sum[/]", "", "", "", "", "", f"[bold]{total:.4f}[/]", "", "", "", "", "")
    return table


def _standing_cells(found: Standing | None) -> tuple[str, str, str]:
    if found is None:
        return "–", "–", "–"
    return f"{found.gigabytes_per_second:.1f}", found.bound, f"{100 * found.share:.0f}"


def findings_table(rows: Sequence[StepRow]) -> Table | None:
    """The steps that are worth a look, the most time to gain first; None if there are none."""
    slow, total = slow_steps(rows), sum(row.rate.milliseconds or 0.0 for row in rows)
    if not slow:
        return None
    title = f"Below {100 * NEAR_ENOUGH:.0f} % of the roofline, and {100 * MATTERS:.0f} % of the time or more"
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in ("layers", "tactic", "bound by"):
        table.add_column(name, overflow="fold")
    for name in ("% of roofline", "% of the time", "ms to gain"):
        table.add_column(name, justify="right")
    for number in slow:
        row, time = rows[number], rows[number].rate.milliseconds or 0.0
        assert row.standing is not None
        share = row.standing.share
        cells = f"{100 * share:.0f}", f"{100 * time / total:.1f}", f"{(1 - share) * time:.4f}"
        table.add_row(shown(row.step.get("name")), shown(row.step.get("tactic")), row.standing.bound, *cells)
    return table


def _rate_cells(found: Rate) -> tuple[str, str, str]:
    time = "–" if found.milliseconds is None else f"{found.milliseconds:.4f}"
    gflops = "–" if found.gflops is None else f"{found.gflops:.1f}"
    return time, gflops, "–" if found.share is None else f"{100 * found.share:.0f}"


def trials_table(report: JsonObject) -> Table:
    """Every step's tactics that were tried, the fastest first, and which one was chosen."""
    table = Table(title="Tactics tried and chosen", title_justify="left", header_style="bold")
    for name in ("layers", "", "tactic", "config"):
        table.add_column(name, overflow="fold")
    table.add_column("ms", justify="right")
    table.add_column("rejected because")
    for step in steps_of(report):
        chosen = (step.get("tactic"), step.get("config"))
        trials = step.get("trials")
        for number, trial in enumerate(_shown(trials if isinstance(trials, list) else [], chosen)):
            is_chosen = (trial.get("tactic"), trial.get("config")) == chosen
            layer = str(step.get("name")) if number == 0 else ""
            cells = (layer, "*" if is_chosen else "", str(trial.get("tactic")), str(trial.get("config")))
            time = "–" if (found := measured(trial)) is None else f"{found:.4f}"
            table.add_row(*map(shown, cells), time, shown(trial.get("rejected", "")), style=_style(is_chosen))
        table.add_section()
    return table


def _shown(trials: Sequence[Json], chosen: tuple[Json, Json]) -> Iterable[JsonObject]:
    rows = [trial for trial in trials if isinstance(trial, dict)]
    for number, trial in enumerate(rows):
        if number < SHOWN_TRIALS or (trial.get("tactic"), trial.get("config")) == chosen:
            yield trial


def _style(is_chosen: bool) -> str | None:
    return "bold green" if is_chosen else None


def console() -> Console:
    """Where results are printed: as wide as needed when it is not a terminal."""
    found = Console()
    return found if found.is_terminal else Console(width=200)
