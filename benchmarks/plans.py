"""Plans of the benchmarks' networks."""

from __future__ import annotations

from pathlib import Path

import tensorwright
from benchmarks.inputs import samples


def load_or_build(model: Path, threads: int, precision: str = "f32") -> tensorwright.Engine:
    """The engine of the plan beside a model; built at the default level if there is none that can be loaded.

    In int8 the ranges are those on the samples of the network that the model's file is called by.
    """
    plan = model.with_suffix(f".{threads}.plan" if precision == "f32" else f".{precision}.{threads}.plan")
    options = {} if precision == "f32" else {"precision": precision}
    if precision == "int8":
        options["calibrator"] = tensorwright.Calibrator(samples(model.stem), "MinMaxCalibration")
    try:
        return tensorwright.load(plan)
    except (FileNotFoundError, tensorwright.PlanError):
        tensorwright.build(model, threads=threads, **options).save(plan)
    return tensorwright.load(plan)
