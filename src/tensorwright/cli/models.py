"""Models and plans by their path: which is which, and engines of either."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tensorwright.api.monitor import ProgressBar
from tensorwright.api.shortcuts import build
from tensorwright.base.progress import Progress
from tensorwright.cli.command import Entry, UsageError, entries
from tensorwright.plan.file import MAGIC
from tensorwright.runtime.engine import Engine
from tensorwright.runtime.load import load

if TYPE_CHECKING:
    from tensorwright.importers.onnx.inputs import Shapes


def is_plan(path: Path) -> bool:
    """Whether a file is a plan rather than a model.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return path.suffix == ".plan" or file.read(len(MAGIC)) == MAGIC


def model_shapes(path: Path, options: Sequence[str]) -> Shapes | None:
    """What --shape options say, by input or by dimension.

    Raises:
        UsageError: an option is misspelt.
        ImportFailure: the model cannot be read.
    """
    if not options:
        return None
    inputs = set(_input_names(path))
    result: dict[str, Sequence[Entry] | Entry] = {}
    for name, found in map(entries, options):
        if name not in inputs and len(found) > 1:
            raise UsageError(f"shape: the model has no input '{name}'; it has {', '.join(sorted(inputs))}")
        result[name] = found if name in inputs else found[0]
    return result


def _input_names(path: Path) -> list[str]:
    from tensorwright.importers.formats import is_frozen_graph

    if is_frozen_graph(path):
        from tensorwright.importers.tensorflow import input_names

        return input_names(path)
    from tensorwright.importers.onnx.ranges import input_types

    return [name for name, _ in input_types(path)]


def engine_of(
    path: Path,
    *,
    shapes: Sequence[str] = (),
    outputs: Sequence[str] | None = None,
    threads: int | None = None,
    level: int = 3,
    timing_cache: Path | None = None,
    instruction_set: str | None = None,
    workspace: int | None = None,
    fast_algorithms: bool = True,
    exclude_tactics: Sequence[str] = (),
    quiet: bool = False,
) -> Engine:
    """The engine of a plan, or of a model, which is built first.

    Raises:
        UsageError: options for a build are given with a plan.
    """
    if is_plan(path):
        if shapes or workspace is not None or instruction_set is not None:
            raise UsageError(f"{path} is a plan: its shapes, workspace and instruction set are settled; give the model")
        return load(path, threads=threads)
    progress: Progress | None = None if quiet else ProgressBar()
    engine = build(
        path,
        shapes=model_shapes(path, shapes),
        outputs=outputs or None,
        max_workspace_size=workspace,
        threads=threads,
        level=level,
        timing_cache=timing_cache,
        instruction_set=instruction_set,
        fast_algorithms=fast_algorithms,
        exclude_tactics=exclude_tactics,
        progress=progress,
        strict=True,
    )
    assert isinstance(engine, Engine)
    return engine
