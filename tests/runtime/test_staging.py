"""Copies between the process and a device with memory of its own."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import binary, given, network
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.devices.device import Stream
from tensorwright.devices.null.device import NullDevice
from tensorwright.runtime import copying
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import symbol


class Watched(NullDevice):
    """A null device that notes where copies go from, where to and how many bytes they have."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[tuple[int, int, int]] = []

    def upload(self, address: int, source: int, size: int, stream: Stream | None = None) -> None:
        self.copies.append((address, source, size))
        super().upload(address, source, size, stream)

    def download(self, target: int, address: int, size: int, stream: Stream | None = None) -> None:
        self.copies.append((target, address, size))
        super().download(target, address, size, stream)


@pytest.fixture
def device() -> Watched:
    return Watched()


@pytest.fixture
def engine(device: Watched) -> Engine:
    graph = network(binary("add", given("x", symbol("n", 1, 4, 1 << 16)), 1.0))
    return Engine(build(graph, BuildConfig(device="null", level=0, timing_cache="")), device=device)


@pytest.mark.parametrize("elements", [1, 1000, 4096, 5000, 1 << 16])
def test_large_inputs_go_piece_by_piece(
    engine: Engine, device: Watched, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, elements: int
) -> None:
    monkeypatch.setattr(copying, "PIECE", 1 << 14)
    x = rng.standard_normal(elements, dtype=np.float32)
    np.testing.assert_array_equal(engine(x)["out0"], x + np.float32(1))
    pieces = [size for _, _, size in device.copies[:-1]]
    assert sum(pieces) == x.nbytes
    assert all(size == 1 << 14 for size in pieces[:-1])
    assert 0 < pieces[-1] <= 1 << 14


@pytest.mark.parametrize("threads", [1, 3])
def test_copies_are_whole_and_in_order(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, threads: int) -> None:
    monkeypatch.setattr(copying, "PIECE", 1 << 10)
    copier, source = copying.Copier(threads), rng.integers(0, 256, 10_001, np.uint8)
    for size in (1, 1024, 1025, 10_001):
        target = np.zeros(10_001, np.uint8)
        pieces = list(copier.copy(target.ctypes.data, source.ctypes.data, size))
        assert [start for start, _ in pieces] == list(range(0, size, 1024))
        assert sum(count for _, count in pieces) == size
        np.testing.assert_array_equal(target[:size], source[:size])
        assert not target[size:].any()
    copier.close()
    copier.close()
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert list(copier.copy(target.ctypes.data, source.ctypes.data, 2000)) == [(0, 1024), (1024, 976)]


def test_memory_that_the_device_reaches_needs_no_staging(
    engine: Engine, device: Watched, rng: np.random.Generator
) -> None:
    elements = 1 << 15
    address = device.staging.allocate(4 * elements, 64, 0)
    block = device.staging._blocks[address]
    x = np.frombuffer(block, np.float32, elements, address - np.frombuffer(block, np.uint8).ctypes.data)
    x[:] = rng.standard_normal(elements)
    assert x.ctypes.data == address
    np.testing.assert_array_equal(engine(x)["out0"], x + np.float32(1))
    assert device.copies[0][1:] == (address, 4 * elements)


def test_memory_grows_with_sizes_and_is_kept(engine: Engine, device: Watched, rng: np.random.Generator) -> None:
    sizes = []
    for elements in (16, 4096, 16, 4096, 1):
        x = rng.standard_normal(elements, dtype=np.float32)
        np.testing.assert_array_equal(engine(x)["out0"], x + np.float32(1))
        sizes.append(sum(len(block) for block in device._memory._blocks.values()))
    assert sizes[1] == sizes[2] == sizes[3] == sizes[4] > sizes[0]
    engine.close()
    assert not device._memory._blocks
    assert not device._staging._blocks
