"""Profiles of plans whose caches stay in place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto
from typer.testing import CliRunner

import tensorwright as tw
from importers.onnx.models import model_of, node
from tensorwright.cli import inspect
from tensorwright.cli.main import app
from tensorwright.runtime.profiler import Profile

Arrays = Mapping[str, npt.NDArray[np.generic]]
BATCH, ROOM, WIDTH = 2, 24, 8


def plan_of(path: Path, *, caches_in_place: bool) -> Path:
    """Two new rows in a buffer, where the caller says."""
    inputs = {name: (TensorProto.FLOAT, (BATCH, rows, WIDTH)) for name, rows in (("past", ROOM), ("rows", 2))}
    inputs["first"] = TensorProto.INT64, (BATCH,)
    model = model_of([node("TensorScatter", "past rows first", "next", axis=1)], inputs, ["next"], 24)
    tw.build(model, caches_in_place=caches_in_place, level=0, threads=1, timing_cache="").save(path)
    return path


@pytest.mark.parametrize("in_place", [True, False])
def test_a_profile_is_of_what_was_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_place: bool) -> None:
    given, profile = list[tuple[Arrays, Arrays]](), inspect.profile_of

    def profiled(context: tw.ExecutionContext, inputs: Arrays, runs: int, *, outputs: Arrays) -> Profile:
        given.append((inputs, outputs))
        found = profile(context, inputs, runs, outputs=outputs)
        for sequence, begin in enumerate(inputs["first"]) if in_place else ():
            rows = outputs["next"][sequence, begin : begin + 2]
            np.testing.assert_array_equal(rows, inputs["rows"][sequence])
        return found

    monkeypatch.setattr(inspect, "profile_of", profiled)
    plan = plan_of(tmp_path / "caches.plan", caches_in_place=in_place)
    result = CliRunner().invoke(app, ["inspect", str(plan), "--profile", "--json"])
    assert result.exit_code == 0, result.output
    ((inputs, outputs),) = given
    assert list(outputs) == (["next"] if in_place else [])
    assert all(array is inputs["past"] for array in outputs.values())
    (step,) = (step for step in json.loads(result.stdout)["steps"] if step["operators"] == ["CacheUpdate"])
    assert step["work"]["activation_bytes"] == 2 * (BATCH * 2 * WIDTH * 4) + BATCH * 8
