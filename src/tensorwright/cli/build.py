"""`tensorwright build`: a model in, a plan out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from tensorwright.base.text import format_bytes
from tensorwright.cli.command import UsageError
from tensorwright.cli.models import is_plan, plan_of
from tensorwright.cli.options import Given, with_options
from tensorwright.cli.tables import console, steps_of, trials_table
from tensorwright.plan.file import write_plan

Model = Annotated[
    Path, Argument(help="A model: ONNX, a frozen TensorFlow graph, UFF, or the definition of a Caffe network.")
]
Output = Annotated[Path | None, Option("-o", "--output", help="The plan to write; beside the model by default.")]


@with_options()
def build(
    model: Model,
    options: Given,
    output: Output = None,
    quiet: Annotated[bool, Option("-q", "--quiet", help="No progress bar.")] = False,
    verbose: Annotated[bool, Option("-v", "--verbose", help="Show the tactics tried and chosen.")] = False,
) -> None:
    """Build a plan from a model: choose the fastest kernels by timing them on this machine."""
    if is_plan(model):
        raise UsageError(f"{model} is a plan already; expected a model")
    start = time.perf_counter()
    plan = plan_of(model, options, quiet=quiet)
    target = model.with_suffix(".plan") if output is None else output
    write_plan(plan, target)
    seconds = time.perf_counter() - start
    out = console()
    if verbose:
        out.print(trials_table(plan.report))
    out.print(
        f"{target}: {format_bytes(target.stat().st_size)}, {len(steps_of(plan.report))} steps, "
        f"built in {seconds:.1f} s",
        highlight=False,
        soft_wrap=True,
    )
