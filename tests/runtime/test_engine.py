"""Engines compute what their plans say."""

from __future__ import annotations

import numpy as np
import pytest

import native_plans
from tensorwright.runtime.engine import Engine


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_batch_size_gives_the_right_answer(rng, threads):
    engine = Engine(native_plans.plan(), threads=threads)
    for batch in (1, 5, 64, 2):
        x = rng.standard_normal((batch, native_plans.WIDTH), np.float32)
        np.testing.assert_array_equal(engine(x)["y"], native_plans.expected(x))
    engine.close()
