"""Concatenations along open axes: pieces of all sizes, none among them, and code that grows as they do."""

from __future__ import annotations

import numpy as np
import pytest

from regions.concatenations import Concatenated
from targets import RUNNABLE
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.kernels.cpu.concatenation.open_tactic import OpenConcatenation
from tensorwright.kernels.cpu.generic import Generic
from tensorwright.kernels.tactic import Kernel
from tensorwright.tensor.dim import evaluate, minimum, symbol
from tensorwright.tune.cpu.kernel_runner import run_kernel
from tensorwright.tune.tuner import HOPELESS

COUNTS = tuple(symbol(f"count{number}", 0, 300, 3000) for number in range(3))


@pytest.mark.parametrize("counts", [(0, 0, 0), (0, 7, 0), (1, 0, 300), (300, 0, 1), (65, 129, 3000)])
@pytest.mark.parametrize("name", RUNNABLE)
def test_pieces_may_be_empty(name: str, counts: tuple[int, ...], rng: np.random.Generator) -> None:
    region, target = Concatenated(COUNTS, (21,), batch=2).region(rng), TARGETS[name]
    (config,) = OpenConcatenation().configs(region, target)
    kernel = OpenConcatenation().emit(region, config, target)
    assert evaluate(kernel.tasks, {}) > 2
    arrays = [rng.standard_normal((2, count, 21)).astype(np.float32) for count in counts]
    values = {f"count{number}": count for number, count in enumerate(counts)}
    np.testing.assert_array_equal(run_kernel(region, kernel, target, arrays, values), np.concatenate(arrays, 1))


def test_code_grows_as_the_pieces_do(rng: np.random.Generator) -> None:
    def made(pieces: int) -> Kernel:
        counts = tuple(minimum(symbol(f"n{number}", 0, 8, 99), 30) for number in range(pieces))
        region = Concatenated(counts, ()).region(rng)
        (config,) = OpenConcatenation().configs(region, TARGETS["avx2"])
        return OpenConcatenation().emit(region, config, TARGETS["avx2"])

    assert len(made(40).text) < 3 * len(made(20).text)


@pytest.mark.parametrize(
    "concatenated", [Concatenated((3, 5), COUNTS[:1]), Concatenated(COUNTS, (2,), tail="relu")], ids=["fixed", "tail"]
)
def test_leaves_the_rest_to_others(concatenated: Concatenated, rng: np.random.Generator) -> None:
    assert not OpenConcatenation().configs(concatenated.region(rng), TARGETS["avx2"])


def test_loops_over_elements_are_not_worth_timing(rng: np.random.Generator) -> None:
    """Their code takes seconds to compile."""
    region = Concatenated(COUNTS, (21,)).region(rng)
    (found,) = Generic().configs(region, TARGETS["avx2"])
    assert OpenConcatenation().efficiency(region, found) > HOPELESS * Generic().efficiency(region, found)
