"""Small networks that one cluster computes: when they are, and that their stages wait for each other."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import constant, given, network
from ptx.memory import Race
from ptx.run import run_on_machine
from regions.collection import EXAMPLES
from regions.runs import RUNS
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.codegen.cuda.compile import assemble, compile_ptx, find_assembler
from tensorwright.codegen.cuda.targets import CUDA_TARGETS
from tensorwright.graph.graph import Graph, apply
from tensorwright.kernels.cuda.cluster.stages import ProductStage
from tensorwright.kernels.cuda.cluster.tactic import FEWEST, TACTICS, OneCluster, OneClusterSplit
from tensorwright.ops.activation import Relu
from tensorwright.ops.matmul import MatMul
from tensorwright.tune.inputs import random_inputs

TARGET = CUDA_TARGETS["sm_90"]


def changed(old: str, new: str, rng: np.random.Generator) -> None:
    """Run a cluster's kernel with its PTX changed."""
    region, tactic = RUNS["layers"].region(rng), OneCluster()
    kernel = tactic.emit(region, next(c for c in tactic.configs(region, TARGET) if c.options.blocks > 1), TARGET)
    ptx = compile_ptx(kernel.code, TARGET)
    assert old in ptx
    run_on_machine(region, kernel, ptx.replace(old, new, 1), random_inputs(region, {}, rng), {})


def test_stages_that_do_not_wait_race(rng: np.random.Generator) -> None:
    barrier = "\tbarrier.cluster.arrive;\n\tbarrier.cluster.wait;\n"
    changed(barrier, barrier, rng)
    with pytest.raises(Race, match="reads what another one wrote"):
        changed(barrier, "", rng)


def test_nothing_is_stored_before_all_have_arrived(rng: np.random.Generator) -> None:
    with pytest.raises(Race, match="stores after it has arrived"):
        changed("\tst.global", "\tbarrier.cluster.arrive;\n\tst.global", rng)


def test_products_take_the_tensor_cores(rng: np.random.Generator) -> None:
    region, tactic = RUNS["images"].region(rng), OneClusterSplit()
    found = tactic.found(region, tactic.configs(region, TARGET)[0].options, TARGET)
    assert found is not None
    assert [number for number, stage in enumerate(found.stages) if isinstance(stage, ProductStage)] == [2]
    assert not found.stages[1].output.is_plain
    assert len(set(found.places.values())) == len(found.stages) - 1


@pytest.mark.skipif(find_assembler() is None, reason="ptxas was not found; the package nvidia-cuda-nvcc has it")
@pytest.mark.parametrize("name", RUNS)
def test_no_registers_are_spilled(name: str, rng: np.random.Generator) -> None:
    region = RUNS[name].region(rng)
    for tactic in TACTICS:
        for config in tactic.configs(region, TARGET)[:1]:
            kernel = tactic.emit(region, config, TARGET)
            _, resources = assemble(compile_ptx(kernel.code, TARGET), TARGET)
            assert not resources[kernel.name].spill_bytes


def layers(width: int, rng: np.random.Generator) -> Graph:
    x = given("x", 1, width)
    for _ in range(3):
        x = apply(Relu(), apply(MatMul(), x, constant(rng.standard_normal((width, width), dtype=np.float32))))
    return network(x)


def test_large_attention_is_not_left_to_a_cluster(rng: np.random.Generator) -> None:
    """Which would be timed at length."""
    for name, offered in {"half-attention-plain": True, "attention-image": False}.items():
        region = EXAMPLES[name].region(rng)
        assert len(region.stages) >= FEWEST
        assert bool(OneCluster().configs(region, TARGET)) == offered


@pytest.mark.parametrize(("width", "steps"), [(24, 1), (2048, 3)])
def test_small_networks_take_one_kernel(width: int, steps: int, rng: np.random.Generator) -> None:
    plan = build(layers(width, rng), BuildConfig(device="cuda", target="sm_90", level=0))
    found = plan.report["steps"]
    assert isinstance(found, list)
    assert len(found) == steps
    assert ("one cluster" in str(found)) == (steps == 1)
