"""Plans for processors of another family: built without being run, refused here."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import drawn, given, network
from tensorwright.api.shortcuts import build_plan
from tensorwright.base.errors import BuildError, PlanError
from tensorwright.devices.cpu.host import is_native
from tensorwright.graph.graph import Graph, apply
from tensorwright.ops.matmul import MatMul
from tensorwright.runtime.engine import Engine

ELSEWHERE = "avx2" if is_native("aarch64") else "aarch64"


@pytest.fixture
def product(rng: np.random.Generator) -> Graph:
    return network(apply(MatMul(), given("x", 5, 8), drawn(rng, 8, 7)))


def test_a_plan_says_where_it_runs(product: Graph) -> None:
    plan = build_plan(product, instruction_set=ELSEWHERE, level=0, timing_cache="")
    assert (plan.stamp.target, plan.stamp.operating_system) == (ELSEWHERE, "linux")
    with pytest.raises(PlanError, match=f"processor architecture {plan.stamp.architecture}, this is"):
        Engine(plan)


def test_its_kernels_cannot_be_timed_here(product: Graph) -> None:
    with pytest.raises(BuildError, match=f"level 1 times kernels, and those for '{ELSEWHERE}' cannot run on this"):
        build_plan(product, instruction_set=ELSEWHERE, level=1, timing_cache="")
