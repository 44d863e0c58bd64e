"""The null device runs any plan and answers with zeros."""

from __future__ import annotations

import numpy as np

from graphs import given, network, unary
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.devices.null import NullDevice
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import symbol


def test_outputs_have_the_right_shape_and_are_zero() -> None:
    graph = network(unary("exp", given("x", symbol("batch", 1, 1, 4), 3)))
    engine = Engine(build(graph, BuildConfig(level=0, threads=1)), device=NullDevice())
    for batch in (1, 4):
        (output,) = engine(np.ones((batch, 3), np.float32)).values()
        assert output.shape == (batch, 3)
        assert not output.any()
