"""Estimates follow the roofline: what takes longer, operations or bytes, and how far a tactic is expected to reach."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from graphs import binary, given
from tensorwright.graph.graph import apply
from tensorwright.graph.region import Region, region_of
from tensorwright.kernels.tactic import NO_OPTIONS, Config, Kernel
from tensorwright.kernels.work import Work
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import FLOAT16, FLOAT32
from tensorwright.tensor.layout import PLAIN, Layout
from tensorwright.tensor.type import TensorType
from tensorwright.tune.estimate import Roofline

ROOFLINE = Roofline(flops_per_second=1e9, bytes_per_second=1e8, call_seconds=1e-6)
CONFIG = Config((PLAIN, PLAIN), PLAIN, NO_OPTIONS)


@dataclass(frozen=True)
class Offered:
    """An offer that states its work and how well it does it."""

    own: Work
    share: float = 1.0
    name: str = "offered"
    exact: bool = True
    joins: bool = False
    general: None = None

    def configs(self, region: Region) -> list[Config]:
        return [CONFIG]

    def emit(self, region: Region, config: Config) -> Kernel:
        raise NotImplementedError

    def work(self, region: Region, config: Config) -> Work:
        return self.own

    def efficiency(self, region: Region, config: Config) -> float:
        return self.share


def _seconds(own: Work, share: float = 1.0, rank: int = 0) -> float:
    region = region_of([binary("add", given("a", 3), 1.0)])
    return ROOFLINE.estimate(region, Offered(own, share), CONFIG, rank)


def test_the_slower_of_arithmetic_and_memory_counts() -> None:
    assert _seconds(Work(10**9, 0)) == pytest.approx(1 + 1e-6)
    assert _seconds(Work(10**6, 10**8)) == pytest.approx(1 + 1e-6)
    assert _seconds(Work(0, 0)) == ROOFLINE.call_seconds


def test_less_efficient_and_less_promising_kernels_take_longer() -> None:
    assert _seconds(Work(10**9, 0), share=0.5) == pytest.approx(2 + 1e-6)
    assert _seconds(Work(10**9, 0)) < _seconds(Work(10**9, 0), rank=1) < _seconds(Work(10**9, 0), rank=5)


def test_symbols_count_as_they_are_tuned_for() -> None:
    batch = symbol("batch", 1, 4, 100)
    product = apply(MatMul(), given("a", batch, 2, 50), given("b", 50, 10))
    region = region_of([product], product)
    offer = Offered(Work(product.type.elements * 100, 0))
    assert ROOFLINE.estimate(region, offer, CONFIG, 0) == pytest.approx(4 * 2 * 10 * 100 / 1e9 + 1e-6)


def test_reorders_cost_their_bytes() -> None:
    blocked, shape = Layout(16), (1, 32, 10, 10)
    assert ROOFLINE.reorder(TensorType(FLOAT32, shape), blocked, blocked) == 0
    wide, narrow = (ROOFLINE.reorder(TensorType(dtype, shape), PLAIN, blocked) for dtype in (FLOAT32, FLOAT16))
    assert wide - 1e-6 == pytest.approx(2 * (narrow - 1e-6))
    assert wide == pytest.approx(1e-6 + 2 * 12800 / (1e8 / 3))
