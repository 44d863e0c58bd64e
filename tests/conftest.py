"""What every test may use: the hypothesis profile, seeded random numbers, and the marker for what needs PyTorch."""

from __future__ import annotations

import importlib.util
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "tensorwright",
    deadline=None,  # The first example of a shape compiles a kernel.
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tensorwright")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=0, help="seed of the rng fixture; every test draws its own numbers")


def pytest_report_header(config: pytest.Config) -> str:
    return f"rng seed: {config.getoption('--seed')}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if not missing:
        return
    reason = f"{' and '.join(missing)} not installed; `make test-torch` sets it up and runs this"
    skip = pytest.mark.skip(reason=reason)
    for item in items:
        if "torch" in item.keywords:
            item.add_marker(skip)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator of the test's own: the same numbers at every run with the same --seed, others in every test."""
    return np.random.default_rng([request.config.getoption("--seed"), zlib.crc32(request.node.nodeid.encode())])
