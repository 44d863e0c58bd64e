"""Models and plans by their path: which is which, and engines of either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from tensorwright.api.monitor import ProgressBar
from tensorwright.api.shortcuts import build, build_plan
from tensorwright.base.progress import Progress
from tensorwright.cli.command import Entry, UsageError, entries
from tensorwright.cli.options import Given
from tensorwright.importers.formats import format_of
from tensorwright.importers.inputs import Shapes
from tensorwright.plan.file import MAGIC
from tensorwright.plan.places import MAGIC as MAGIC_OF_BUNDLES
from tensorwright.plan.plan import Plan
from tensorwright.runtime.engine import Engine
from tensorwright.runtime.load import load


def is_plan(path: Path) -> bool:
    """Whether a file is a plan, or a bundle of them, rather than a model.

    Raises:
        OSError: it cannot be read.
    """
    if path.is_dir():
        return False
    with path.open("rb") as file:
        return path.suffix == ".plan" or file.read(len(MAGIC)) in (MAGIC, MAGIC_OF_BUNDLES)


def with_shapes(path: Path, given: Given) -> Mapping[str, object]:
    """The options with what --shape says, by input or by dimension.

    Raises:
        UsageError: an option is misspelt.
        ImportFailure: the model cannot be read.
    """
    if "shapes" not in given:
        return given
    return {**given, "shapes": shapes_of(path, cast("list[str]", given["shapes"]))}


def shapes_of(path: Path, options: Sequence[str]) -> Shapes:
    """What --shape says, by input or by dimension.

    Raises:
        UsageError: an option is misspelt.
        ImportFailure: the model cannot be read.
    """
    inputs = set(format_of(path).input_names(path))
    result: dict[str, Sequence[Entry] | Entry] = {}
    for name, found in map(entries, options):
        if name not in inputs and len(found) > 1:
            raise UsageError(f"shape: the model has no input '{name}'; it has {', '.join(sorted(inputs))}")
        result[name] = found if name in inputs else found[0]
    return result


def engine_of(path: Path, options: Given, *, quiet: bool = False) -> Engine:
    """The engine of a plan, or of a model, which is built first.

    Raises:
        UsageError: options for a build are given with a plan.
    """
    if is_plan(path):
        settled = sorted(set(options) - {"threads", "device"})
        if settled:
            raise UsageError(f"{path} is a plan, for which {', '.join(settled)} are settled; give the model")
        threads, device = cast("int | None", options.get("threads")), cast("str | None", options.get("device"))
        return load(path, threads=threads, device=device)
    engine = build(path, strict=True, **_said(path, options, quiet=quiet))
    assert isinstance(engine, Engine)
    return engine


def plan_of(model: Path, options: Given, *, quiet: bool = False) -> Plan:
    """The plan of a model, for this machine or another one."""
    return build_plan(model, **_said(model, options, quiet=quiet))


def _said(path: Path, options: Given, *, quiet: bool) -> dict[str, Any]:
    progress: Progress | None = None if quiet else ProgressBar()
    return {"progress": progress, **with_shapes(path, options)}
