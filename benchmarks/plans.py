"""Plans of the benchmarks' networks."""

from __future__ import annotations

from pathlib import Path

import tensorwright


def load_or_build(model: Path, threads: int) -> tensorwright.Engine:
    """The engine of the plan beside a model; built at the default level if there is none that can be loaded."""
    plan = model.with_suffix(f".{threads}.plan")
    try:
        return tensorwright.load(plan)
    except (FileNotFoundError, tensorwright.PlanError):
        tensorwright.build(model, threads=threads).save(plan)
    return tensorwright.load(plan)
