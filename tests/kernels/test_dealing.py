"""How work is dealt out to more threads than most machines have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from regions.convolutions import Window
from regions.products import linear
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.catalogue import tactics
from tensorwright.kernels.cpu.dealing import idling

THREADS = (16, 32)


def first_tasks(region: Region, name: str, threads: int) -> int:
    """The tasks of what a tactic offers first."""
    target = replace(TARGETS["avx512"], threads=threads)
    (tactic,) = [one for one in tactics() if one.name == name]
    tasks = tactic.emit(region, tactic.configs(region, target)[0], target).tasks
    assert isinstance(tasks, int)
    return tasks


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize(("channels", "size"), [(128, 28), (256, 14), (512, 7)])
def test_winograds_convolutions_keep_all_threads_busy(
    channels: int, size: int, threads: int, rng: np.random.Generator
) -> None:
    region = Window((1, channels, size, size), channels, (3, 3), begin=(1, 1)).region(rng)
    assert first_tasks(region, "winograd convolution", 1) == 8
    assert idling(first_tasks(region, "winograd convolution", threads), threads) < 1.2


@pytest.mark.parametrize("threads", THREADS)
def test_products_keep_all_threads_busy(threads: int, rng: np.random.Generator) -> None:
    region = linear((128, 768), 768).region(rng)
    assert idling(first_tasks(region, "matmul_packed", threads), threads) < 1.2


def test_eight_threads_get_what_one_gets(rng: np.random.Generator) -> None:
    region = Window((1, 64, 56, 56), 256, (1, 1)).region(rng)
    for name in ("direct convolution", "generic"):
        assert len({first_tasks(region, name, threads) for threads in (1, 2, 8)}) == 1


def test_idling() -> None:
    assert idling(16, 16) == idling(32, 16) == idling(7, 1) == 1
    assert idling(8, 16) == 2
    assert idling(24, 16) == pytest.approx(4 / 3)
