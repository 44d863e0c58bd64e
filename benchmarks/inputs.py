"""What the networks of the benchmarks run on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.models import MODELS, input_shape

SAMPLES = 4


def samples(name: str) -> list[npt.NDArray[Any]]:
    """Inputs on which ranges are measured."""
    return [example(name, seed) for seed in range(SAMPLES)]


def example(name: str, seed: int = 0) -> npt.NDArray[Any]:
    """The input of a network: random numbers, or random tokens; the same in every process."""
    rng, shape = np.random.default_rng(seed), input_shape(name)
    if name in MODELS and MODELS[name].takes_tokens:
        return rng.integers(0, 1000, shape)
    return rng.standard_normal(shape, dtype=np.float32)
