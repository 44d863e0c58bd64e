"""`tensorwright inspect`: what is in a model or a plan."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

from rich.table import Table
from typer import Argument, Option

from tensorwright.api.shortcuts import graph_of
from tensorwright.base.files import replacing
from tensorwright.base.text import format_bytes, printable_lines
from tensorwright.build.config import BuildConfig
from tensorwright.cli.arrays import Array, complete_inputs
from tensorwright.cli.command import UsageError, shown
from tensorwright.cli.models import is_plan, with_shapes
from tensorwright.cli.options import Given, with_options
from tensorwright.cli.peak import gains_of, machine_here, speed_here
from tensorwright.cli.roofline import NEAR_ENOUGH, Roof, roof_of
from tensorwright.cli.tables import (
    StepRow,
    console,
    findings_table,
    plan_header,
    slow_steps,
    step_rows,
    steps_of,
    steps_table,
    timings,
    trials_table,
)
from tensorwright.graph.graph import Graph, Value, is_constant
from tensorwright.graph.region import region_of
from tensorwright.importers.options import ReadOptions
from tensorwright.kernels.work import work
from tensorwright.picture.page import plan_page
from tensorwright.plan.file import read_plan
from tensorwright.plan.plan import Json, Plan
from tensorwright.runtime.bindings import format_shape
from tensorwright.runtime.engine import Engine
from tensorwright.runtime.profiler import Profile
from tensorwright.runtime.profiler import profile as profile_of
from tensorwright.tensor.dim import tuning_value


@with_options(ReadOptions)
def inspect(
    source: Annotated[Path, Argument(help="A model or a plan.")],
    options: Given,
    profile: Annotated[bool, Option(help="Run the plan and show the time of each step.")] = False,
    threads: Annotated[int | None, Option(min=1, help="Threads for --profile; the plan's own by default.")] = None,
    verbose: Annotated[bool, Option("-v", "--verbose", help="Show the tactics tried, too.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print everything as JSON.")] = False,
    number: Annotated[
        int, Option("--optimization-profile", min=0, help="Of a plan with several profiles, the one to show.")
    ] = 0,
    html: Annotated[Path | None, Option(help="Write a page that shows the plan in a browser.")] = None,
) -> None:
    """Show the layers of a model, or the machine, memory, steps and kernels of a plan."""
    if is_plan(source) and html is not None:
        _draw_plan(_selected(source, number), profile, threads, html)
    elif html is not None:
        raise UsageError(f"--html shows a plan, and {source} is a model: build it first")
    elif is_plan(source):
        _inspect_plan(_selected(source, number), profile, threads, verbose, as_json)
    else:
        said = ReadOptions(**cast("dict[str, Any]", with_shapes(source, options)))
        _inspect_model(graph_of(source, said, BuildConfig(log=_warn)), as_json)


def _selected(source: Path, number: int) -> Plan:
    """The plan in a file, or of its profiles the one with a number."""
    plan = read_plan(source)
    count = max(1, len(plan.profiles))
    if number >= count:
        raise UsageError(f"--optimization-profile is {number}; {source} has {count}, counted from 0")
    if plan.profiles:
        print(f"profile {number} of {count}; --optimization-profile shows the others", file=sys.stderr)
    return plan.profiles[number] if plan.profiles else plan


def _warn(_severity: str, message: str) -> None:
    """Messages about the model go beside the result."""
    print(printable_lines(message), file=sys.stderr)


@dataclass(frozen=True)
class _Row:
    """One operator of a model: its work is that at the sizes to tune for."""

    name: str
    operator: str
    output: str
    parameters: int
    flops: int


def _inspect_model(graph: Graph, as_json: bool) -> None:
    rows = [_row(value) for value in graph.order() if value.op.kind != "source"]
    constants = [value for value in graph.order() if is_constant(value)]
    parameters = sum(tuning_value(value.type.elements) for value in constants)
    size = sum(value.type.max_bytes for value in constants)
    flops = sum(row.flops for row in rows)
    if as_json:
        print(
            json.dumps({**_model_json(graph, rows), "parameters": parameters, "bytes": size, "flops": flops}, indent=2)
        )
        return
    table = Table("layer", "operator", "output", header_style="bold")
    table.add_column("parameters", justify="right")
    table.add_column("MFLOP", justify="right")
    for row in rows:
        cells = map(shown, (row.name, row.operator, row.output))
        table.add_row(*cells, f"{row.parameters:,}" if row.parameters else "", f"{row.flops / 1e6:,.2f}")
    out = console()
    out.print(f"[bold]{shown(graph.name)}[/]")
    for mode, bindings in (("input", graph.inputs), ("output", graph.outputs)):
        for name, value in bindings:
            out.print(f"{mode} {shown(f'{name}: {value.type.dtype.name} {format_shape(value.type.shape)}')}")
    out.print(table)
    counts = Counter(row.operator for row in rows)
    out.print(f"{len(rows)} operators: {', '.join(f'{count} {name}' for name, count in counts.most_common())}")
    out.print(f"{parameters:,} parameters in {format_bytes(size)}, {flops / 1e9:.3f} GFLOP an inference")


def _row(value: Value) -> _Row:
    flops = tuning_value(work(region_of([value])).flops)
    constants = sum(tuning_value(operand.type.elements) for operand in value.inputs if is_constant(operand))
    return _Row(value.name, value.op.name, repr(value.type), constants, flops)


def _model_json(graph: Graph, rows: list[_Row]) -> dict[str, object]:
    return {
        "network": graph.name,
        "inputs": {name: repr(value.type) for name, value in graph.inputs},
        "outputs": {name: repr(value.type) for name, value in graph.outputs},
        "layers": [vars(row) for row in rows],
    }


def _inspect_plan(plan: Plan, profile: bool, threads: int | None, verbose: bool, as_json: bool) -> None:
    found = _profiled(plan, threads) if profile else None
    report = _with_machine(plan, threads or plan.threads)
    footprint = plan.weights.nbytes + plan.arena_bytes
    roof = _roof(plan, report, threads, profile)
    rows = step_rows(report, roof, found)
    if as_json:
        print(json.dumps(_plan_json(plan, report, rows), indent=2))
        return
    out = console()
    out.print(plan_header(plan))
    if verbose:
        out.print(trials_table(report))
    out.print(steps_table(rows))
    if found is not None:
        out.print(findings_table(rows) or f"no step that matters is below {100 * NEAR_ENOUGH:.0f} % of its roofline")
        out.print(f"measured now: {found.nanoseconds * 1e-6:.4f} ms an inference, without the call")
    if roof is not None:
        speeds = ", ".join(f"{level.name} {level.gigabytes_per_second:.0f}" for level in roof.levels)
        others = "".join(f", {name} {roof.peak(name):.1f}" for name in roof.gains)
        count = threads or plan.threads
        out.print(f"measured peak of float32: {roof.peak_gflops:.1f}{others} GFLOP/s with {count} thread(s)")
        here = f"; {roof.speed:.0f} for the {format_bytes(footprint)} of an inference" if roof.speed else ""
        out.print(f"measured speed of reading, GB/s: {speeds}{here}")


def _with_machine(plan: Plan, threads: int) -> Mapping[str, Json]:
    """The report of a plan; its machine is measured now if it was not, or for another number of threads."""
    machine = plan.report.get("machine")
    stated = machine if isinstance(machine, dict) else {}
    if "memory" in stated and threads == plan.threads:
        return plan.report
    return {**plan.report, "machine": {**stated, **machine_here(plan.stamp, threads)}}


def _roof(plan: Plan, report: Mapping[str, Json], threads: int | None, profile: bool) -> Roof | None:
    footprint = plan.weights.nbytes + plan.arena_bytes
    speed = speed_here(plan.stamp, threads or plan.threads, footprint) if profile else None
    return roof_of(report, footprint, speed, gains_of(plan.stamp))


def _draw_plan(plan: Plan, profile: bool, threads: int | None, path: Path) -> None:
    found = _profiled(plan, threads) if profile else None
    roof = _roof(plan, _with_machine(plan, threads or plan.threads), threads, profile) if profile else None
    page = plan_page(plan, timings(step_rows(plan.report, roof, found), profiled=profile), threads).encode()
    with replacing(path) as file:
        file.write(page)
    text = f"{path}: {format_bytes(len(page))}, {len(steps_of(plan.report))} steps; open it in a browser"
    console().print(shown(text), highlight=False, soft_wrap=True)


def _profiled(plan: Plan, threads: int | None) -> Profile:
    with Engine(plan, threads=threads) as engine, engine.create_execution_context() as context:
        inputs = complete_inputs(engine, {}, None, 0)
        return profile_of(context, inputs, runs=50, outputs=_in_place(plan, inputs))


def _in_place(plan: Plan, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """By name of output the caches that it may be written into, as those who asked for them in place do."""
    caches = plan.report.get("caches")
    found = caches if isinstance(caches, dict) else {}
    return {str(output): inputs[name] for name, output in found.items() if name in inputs}


def _plan_json(plan: Plan, report: Mapping[str, Json], rows: Sequence[StepRow]) -> dict[str, object]:
    return {
        **report,
        "stamp": {**vars(plan.stamp), "features": list(plan.stamp.features)},
        "bindings": [{"name": b.name, "mode": b.mode, "type": repr(b.type)} for b in plan.bindings],
        "symbols": {s.name: [s.min, s.opt, s.max] for s in plan.symbols},
        "threads": plan.threads,
        "code_bytes": len(plan.executable.code),
        "steps": [_step_json(row) for row in rows],
        "below_roofline": [str(rows[number].step.get("name")) for number in slow_steps(rows)],
    }


def _step_json(row: StepRow) -> dict[str, Json]:
    found: dict[str, Json] = dict(row.step)
    found |= {"milliseconds": row.rate.milliseconds, "gflops": row.rate.gflops, "peak_share": row.rate.share}
    if row.standing is not None:
        found["gigabytes_per_second"] = row.standing.gigabytes_per_second
        found["bound"], found["roofline_share"] = row.standing.bound, row.standing.share
    return found
