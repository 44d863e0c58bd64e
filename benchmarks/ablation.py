"""What each technique brings: ``python -m benchmarks.ablation --models resnet18,minilm --threads 1 --json FILE``.

A network is built as usual, then again without one technique at a time: without each tactic that its plan uses, without
graph rewrites and fusion, without timing (level 0). All plans then take turns on the same input, in one process.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from benchmarks.environments import CACHE, console
from benchmarks.inputs import example
from benchmarks.models import MODELS, model_file
from tensorwright.api.monitor import ProgressBar
from tensorwright.api.shortcuts import make_plan
from tensorwright.build.config import BuildConfig
from tensorwright.importers.options import ReadOptions
from tensorwright.plan.plan import Plan
from tensorwright.runtime.engine import Engine

TURNS = 15
TURN_SECONDS = 0.1


@dataclass(frozen=True)
class Row:
    """Median milliseconds of a network built without one technique; `ratio` is to the whole."""

    model: str
    threads: int
    without: str
    median_ms: float
    ratio: float


def tactics_of(plan: Plan) -> list[str]:
    """The tactics that a plan uses, apart from the one that cannot be left out."""
    steps = plan.report["steps"]
    assert isinstance(steps, list)
    names = {str(step["tactic"]) for step in steps if isinstance(step, dict)}
    return sorted(names - {"generic"})


def variants(model: Path, threads: int) -> dict[str, Plan]:
    """The usual plan, called "", and plans without one technique, by its name."""
    config = BuildConfig(threads=threads, progress=ProgressBar())
    whole = make_plan(model, ReadOptions(), config)
    plans = {"": whole}
    for name in tactics_of(whole):
        plans[name] = make_plan(model, ReadOptions(), replace(config, exclude_tactics=frozenset({name})))
    plans["rewrites and fusion"] = make_plan(model, ReadOptions(), replace(config, optimise=False))
    plans["timing (level 0)"] = make_plan(model, ReadOptions(), replace(config, level=0))
    return plans


def medians(plans: Mapping[str, Plan], name: str) -> dict[str, float]:
    """Milliseconds of each plan, measured in turns."""
    array = example(name)
    engines = {without: Engine(plan) for without, plan in plans.items()}
    times: dict[str, list[float]] = {without: [] for without in plans}
    for turn in range(TURNS + 1):
        for without, engine in engines.items():
            found = _turn(engine, array)
            if turn > 0:
                times[without].append(found)
    return {without: statistics.median(found) * 1e3 for without, found in times.items()}


def _turn(engine: Engine, array: object) -> float:
    """Median seconds of the calls of one turn."""
    found: list[float] = []
    while sum(found) < TURN_SECONDS or len(found) < 2:
        start = time.perf_counter()
        engine(array)  # type: ignore[arg-type]
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def main(
    models: Annotated[str, typer.Option(help="Comma-separated names.")] = ",".join(["lenet", *MODELS]),
    threads: Annotated[int, typer.Option(help="Threads of every plan.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows to this file.")] = None,
    folder: Annotated[Path, typer.Option(help="Where models are kept.")] = CACHE,
) -> None:
    """Measure networks with one technique left out at a time."""
    rows: list[Row] = []
    for name in models.split(","):
        found = medians(variants(model_file(name, folder), threads), name)
        rows += [Row(name, threads, without, ms, ms / found[""]) for without, ms in found.items()]
        if json_file is not None:
            json_file.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    table = Table("model", "without", "ms", "times as long")
    for row in rows:
        table.add_row(row.model, row.without or "(everything on)", f"{row.median_ms:.3f}", f"{row.ratio:.2f}")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
