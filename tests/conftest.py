"""What every test may use: the hypothesis profile, seeded random numbers, and markers for what needs more packages."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import zlib
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tensorwright.api.logger import SHARED_LOGGER
from tensorwright.codegen import pool
from tensorwright.codegen.cpu import pool as cpu_pool
from tensorwright.tune.cpu import bench as cpu_bench

os.environ["TENSORWRIGHT_CHECK_PLAN"] = "1"  # All builds of all tests, those in other processes included.

settings.register_profile(
    "tensorwright",
    deadline=None,  # The first example of a shape compiles a kernel.
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tensorwright")


NEEDED = {"torch": ("torch", "transformers"), "tensorflow": ("tensorflow",)}
"""The packages that the tests of a marker need."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=0, help="seed of the rng fixture; every test draws its own numbers")
    everything = "all configs of all tactics on all targets; with N/M, the Nth of M parts of them"
    parser.addoption("--kernels", nargs="?", const="1/1", metavar="N/M", help=everything)
    parser.addoption("--conformance", action="store_true", help="all of ONNX's test suite, in all configurations")


def pytest_report_header(config: pytest.Config) -> str:
    return f"rng seed: {config.getoption('--seed')}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for marker, packages in NEEDED.items():
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        reason = f"{' and '.join(missing)} not installed; `make test-{marker}` sets it up and runs this"
        _skip(items if missing else [], marker, reason)
    _skip(items if not _has_driver() else [], "cuda", "libcuda.so.1 was not found; `make test-cuda` runs this on a GPU")


def _skip(items: list[pytest.Item], marker: str, reason: str) -> None:
    for item in items:
        if item.get_closest_marker(marker):
            item.add_marker(pytest.mark.skip(reason=reason))


def _has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


REMEMBERED = 1000
"""Of so many modules the machine code is kept."""


@pytest.fixture(autouse=True, scope="session")
def _shared_work() -> Iterator[None]:
    """What several tests ask is answered once: the machine code of a kernel, and what the machine can do. Small
    networks are compiled here, as starting processes takes longer: codegen/test_pool.py and api/test_refused_builds.py
    test those, and programs that tests start have them.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "IN_PROCESS", 1 << 20)
        patch.setattr(cpu_pool, "compile_object", lru_cache(REMEMBERED)(cpu_pool.compile_object))
        patch.setattr(cpu_bench, "measured_machine", lru_cache(cpu_bench.measured_machine))
        yield


@pytest.fixture(autouse=True)
def own_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process has one logger; one that another test keeps alive is not this test's."""
    monkeypatch.setattr(SHARED_LOGGER, "_used", None)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator of the test's own: the same numbers at every run with the same --seed, others in every test."""
    return np.random.default_rng([request.config.getoption("--seed"), zlib.crc32(request.node.nodeid.encode())])
