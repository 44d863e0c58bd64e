"""Plans for processors that this one is not: built without being run, refused here, naming both sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tensorwright as tw
from graphs import drawn, given, network
from targets import RUNNABLE
from tensorwright.api.shortcuts import build_plan
from tensorwright.base.errors import BuildError, PlanError
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.devices.cpu import host
from tensorwright.devices.cpu.instruction_sets import INSTRUCTION_SETS
from tensorwright.graph.graph import Graph, apply
from tensorwright.graph.region import region_of
from tensorwright.kernels.cpu.generic import Generic
from tensorwright.ops.matmul import MatMul
from tensorwright.plan.file import write_plan
from tensorwright.runtime.engine import Engine
from tensorwright.tune.cpu.kernel_runner import LoadedKernel
from tensorwright.tune.cpu.machine import measured_machine

ELSEWHERE = [name for name in INSTRUCTION_SETS if name not in RUNNABLE]
BEYOND = {"avx512", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx512_amx"}


@pytest.fixture
def product(rng: np.random.Generator) -> Graph:
    return network(apply(MatMul(), given("x", 5, 8), drawn(rng, 8, 7)))


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> str:
    """This processor without what came after AVX2: its best instruction set."""
    features = host.host_features().intersection(INSTRUCTION_SETS["avx2"].features)
    monkeypatch.setattr(host, "processor_features", lambda: features)
    monkeypatch.setattr(host, "host_features", lambda: features)
    return host.best_instruction_set()


@pytest.mark.parametrize("target", ELSEWHERE)
def test_a_plan_says_where_it_runs(target: str, product: Graph) -> None:
    plan = build_plan(product, instruction_set=target, level=0, timing_cache="")
    assert (plan.stamp.target, plan.stamp.operating_system) == (target, "linux")
    assert set(plan.stamp.features) == set(INSTRUCTION_SETS[target].features)
    with pytest.raises(PlanError, match=f"processor architecture {plan.stamp.architecture}, this is|lacks "):
        Engine(plan)


@pytest.mark.parametrize("target", ELSEWHERE)
def test_its_kernels_cannot_be_timed_here(target: str, product: Graph) -> None:
    message = f"level 1 times kernels, and those for '{target}' cannot run on this machine, which lacks "
    with pytest.raises(BuildError, match=message):
        build_plan(product, instruction_set=target, level=1, timing_cache="")


@pytest.mark.parametrize("target", sorted(BEYOND))
def test_an_older_processor_of_the_family_makes_plans_for_newer_ones(
    target: str, older: str, product: Graph, tmp_path: Path
) -> None:
    """And refuses them; of several in one file it takes its own."""
    plan = build_plan(product, target=target, level=0, timing_cache="")
    refusal = f"for the instruction set {target} on no processor; this processor, .*, lacks .*avx512f.* for '{older}'"
    with pytest.raises(PlanError, match=refusal):
        Engine(plan)
    write_plan(plan, tmp_path / "newer.plan")
    write_plan(build_plan(product, level=0, timing_cache=""), tmp_path / "own.plan")
    with pytest.raises(PlanError, match=refusal):
        tw.load(tmp_path / "newer.plan")
    tw.bundle([tmp_path / "newer.plan", tmp_path / "own.plan"], tmp_path / "both.plan")
    with tw.load(tmp_path / "both.plan") as engine:
        assert engine.stamp.target == older


def test_code_for_newer_processors_is_not_called(older: str, product: Graph) -> None:
    """Kernels, and the loops that measure a machine: they would end the process."""
    region, target = region_of([product.outputs[0][1]]), TARGETS["avx512"]
    kernel = Generic().emit(region, Generic().configs(region, target)[0], target)
    for call in (lambda: LoadedKernel(kernel, target), lambda: measured_machine(target, 1)):
        with pytest.raises(PlanError, match=f"'avx512' needs .*; this machine .* lacks avx512bw, .*choose '{older}'"):
            call()
