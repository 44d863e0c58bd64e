"""`tensorwright build`: a model in, a plan out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from tensorwright.base.text import format_bytes
from tensorwright.cli.command import UsageError, size
from tensorwright.cli.models import engine_of, is_plan
from tensorwright.cli.tables import console, steps_of, trials_table

Model = Annotated[Path, Argument(help="An ONNX model or a frozen TensorFlow graph.")]
Output = Annotated[Path | None, Option("-o", "--output", help="The plan to write; beside the model by default.")]
Shape = Annotated[
    list[str] | None,
    Option(help="NAME=D1xD2x... for an input, NAME=D for a named dimension; MIN:OPT:MAX for a range. May be repeated."),
]
OutputNode = Annotated[
    list[str] | None,
    Option("-O", "--output-node", help="A node of a TensorFlow graph to compute; by default all that no other takes."),
]
Threads = Annotated[int | None, Option(min=1, help="Threads of an inference; all cores by default.")]
Level = Annotated[int, Option(min=0, max=5, help="Tuning effort: 0 times nothing, 5 every configuration.")]
Workspace = Annotated[str | None, Option(help="Scratch memory that any layer may use, such as 64M.")]
TimingCache = Annotated[Path | None, Option(help="File that remembers timings; in the user's cache folder by default.")]
InstructionSet = Annotated[str | None, Option(help="avx512, avx2, baseline or aarch64; the best here by default.")]

FastAlgorithms = Annotated[bool, Option(help="Algorithms that need fewer operations and round differently.")]
ExcludeTactic = Annotated[list[str] | None, Option(help="A tactic not to be used, by name. May be repeated.")]


def build(
    model: Model,
    output: Output = None,
    shape: Shape = None,
    output_node: OutputNode = None,
    level: Level = 3,
    threads: Threads = None,
    workspace: Workspace = None,
    timing_cache: TimingCache = None,
    instruction_set: InstructionSet = None,
    fast_algorithms: FastAlgorithms = True,
    exclude_tactic: ExcludeTactic = None,
    quiet: Annotated[bool, Option("-q", "--quiet", help="No progress bar.")] = False,
    verbose: Annotated[bool, Option("-v", "--verbose", help="Show the tactics tried and chosen.")] = False,
) -> None:
    """Build a plan from a model: choose the fastest kernels by timing them on this machine."""
    if is_plan(model):
        raise UsageError(f"{model} is a plan already; expected a model")
    start = time.perf_counter()
    engine = engine_of(
        model,
        shapes=shape or (),
        outputs=output_node,
        threads=threads,
        level=level,
        timing_cache=timing_cache,
        instruction_set=instruction_set,
        workspace=size(workspace),
        fast_algorithms=fast_algorithms,
        exclude_tactics=exclude_tactic or (),
        quiet=quiet,
    )
    target = model.with_suffix(".plan") if output is None else output
    engine.save(target)
    seconds = time.perf_counter() - start
    out = console()
    if verbose:
        out.print(trials_table(engine.report))
    out.print(
        f"{target}: {format_bytes(target.stat().st_size)}, {len(steps_of(engine.report))} steps, "
        f"built in {seconds:.1f} s",
        highlight=False,
        soft_wrap=True,
    )
    engine.close()
