"""Chains of convolutions in one kernel: strips, workspace, what is declined, and networks that join them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cases.case import assert_close
from emulation import load
from graphs import network
from regions.chains import CHAINS, Chain, Link, depthwise
from regions.sampling import Rotation
from targets import EMULATED_SINGLE, SINGLE
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Value, apply, constant_value, input_value
from tensorwright.graph.region import joined, region_of
from tensorwright.kernels.cpu.convolution.chain_tactic import ConvolutionChain
from tensorwright.kernels.cpu.convolution.chain_tiling import chain_tiling_of, members_of
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of
from tensorwright.tune.cpu.kernel_runner import prepare
from tensorwright.tune.inputs import random_inputs
from tensorwright.tune.memory import POISON

TACTIC = ConvolutionChain()


def test_all_strips(rng: np.random.Generator):
    """Strips of every height are offered, in one task and in several."""
    region, machine = CHAINS["small"].region(rng), TARGETS["avx512"]
    configs = TACTIC.configs(region, machine)
    assert {config.options.strips.height for config in configs} >= {1, 2, 4, 7}
    assert len({config.options.strips.count for config in configs}) > 2


@pytest.mark.parametrize("target_name", [*SINGLE, *EMULATED_SINGLE])
def test_workspace(target_name: str, rng: np.random.Generator):
    """The tensors between the convolutions are larger than the workspace, and nothing behind its end is written."""
    chain = Chain((1, 16, 40, 64), (Link(32, tail="bias clip"), depthwise(), Link(16)))
    region, machine = chain.region(rng), TARGETS[target_name]
    for config in Rotation(4, 0)("", TACTIC.configs(region, machine)):
        kernel = TACTIC.emit(region, config, machine)
        assert 0 < kernel.workspace < 2 * 32 * 40 * 64 * 4
        operands = prepare(
            region, replace(kernel, workspace=kernel.workspace + 4096), random_inputs(region, {}, rng), {}
        )
        load(kernel, machine).call(*operands.arguments)
        assert (operands.workspace[kernel.workspace :] == POISON).all()
        assert (operands.workspace[: kernel.workspace] != POISON).mean() > 0.5


def test_many_strips_make_tasks_for_many_threads(rng: np.random.Generator):
    target = TARGETS["avx512"]
    links = (Link(64, tail="bias clip"), depthwise(), Link(20, tail=""))
    for members, least in ((links, 7), (links[1:], 13), (links[:2], 4)):
        region = Chain((1, 20, 13, 9), members).region(rng)
        found = members_of(region)
        assert found is not None
        tilings = [
            chain_tiling_of(found, region, config.options, target.float_lanes)
            for config in TACTIC.configs(region, target)
        ]
        assert max(tiling.strip_tasks * tiling.strips.parts for tiling in tilings) >= least, members


def test_residual_in_place(rng: np.random.Generator):
    """The output may lie where a residual was that only the last convolution adds, not where the chain's input was."""
    own = CHAINS["7x7"].region(rng)
    kernel = TACTIC.emit(own, TACTIC.configs(own, TARGETS["avx512"])[0], TARGETS["avx512"])
    assert [own.inputs[number].name for number in kernel.in_place] == ["residual"]
    shortcut = CHAINS["residual"].region(rng)
    kernel = TACTIC.emit(shortcut, TACTIC.configs(shortcut, TARGETS["avx512"])[0], TARGETS["avx512"])
    assert kernel.in_place == ()


def test_what_does_not_apply(rng: np.random.Generator):
    for links in (
        (Link(20), Link(20)),
        (depthwise(), depthwise()),
        (depthwise(), Link(20), depthwise()),
        (Link(20), Link(20), depthwise()),
        (depthwise(), Link(20), Link(20)),
        (depthwise(), Link(20, (3, 3), begin=(1, 1))),
        (depthwise(), Link(20, (1, 1), (2, 2))),
        (depthwise(), Link(20, begin=(1, 1))),
    ):
        region = Chain((1, 16, 9, 9), links).region(rng)
        assert not TACTIC.configs(region, TARGETS["avx512"]), links


def test_results_that_are_read_twice(rng: np.random.Generator):
    """A member that adds what it convolves to its result is declined: the whole is not in memory."""
    x = input_value("x", TensorType(FLOAT32, (1, 16, 9, 9)))
    first = _convolved(x, 16, rng)
    second = _convolved(first, 16, rng)
    again = apply(Binary("add"), second, first)
    region = joined([region_of([first], first), region_of([second, again], second)])
    assert not TACTIC.configs(region, TARGETS["avx512"])


def test_weights_that_are_used_twice(rng: np.random.Generator):
    """One constant cannot be packed in two ways."""
    x = input_value("x", TensorType(FLOAT32, (1, 16, 9, 9)))
    first = _convolved(x, 1, rng)
    middle = _convolved(first, 16, rng)
    last = apply(Convolution((1, 1), (0, 0), (0, 0), (1, 1), 1), middle, first.inputs[1])
    region = joined([region_of([value], value) for value in (first, middle, last)])
    assert not TACTIC.configs(region, TARGETS["avx512"])


def _convolved(x: Value, groups: int, rng: np.random.Generator) -> Value:
    """A depthwise 3×3 or a pointwise convolution of 16 channels."""
    size = 1 if groups == 1 else 3
    weights = rng.uniform(-1, 1, (16, 16 // groups, size, size)).astype(np.float32)
    pads = (size // 2, size // 2)
    return apply(Convolution((1, 1), pads, pads, (1, 1), groups), x, constant_value(weights_of(weights)))


def test_a_network_joins(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator):
    """Inverted residuals, all of whose chains are joined, give what the definitions give."""
    monkeypatch.setattr("tensorwright.tune.join._saving", lambda item, *_: float(len(item.region.stages) == 3))
    x = input_value("x", TensorType(FLOAT32, (1, 24, 8, 8)))
    first = Chain((1, 24, 8, 8), (Link(40, tail="bias clip"), depthwise(), Link(24, tail="bias shortcut")))
    second = Chain((1, 24, 8, 8), (Link(48, tail="bias clip"), depthwise(3, 2), Link(33)))
    graph = network(second.after(first.after(x, rng)[-1].output, rng)[-1].output)
    plan = build(graph, BuildConfig(level=1, threads=2, timing_cache=""))
    steps = plan.report["steps"]
    assert isinstance(steps, list)
    assert [step["tactic"] for step in steps if isinstance(step, dict)].count(TACTIC.name) == 2
    given = rng.uniform(-1, 1, (1, 24, 8, 8)).astype(np.float32)
    (actual,) = Engine(plan)(given).values()
    (expected,) = evaluate_graph(graph, {"x": given}).values()
    assert_close(actual, expected, 1e-5)
