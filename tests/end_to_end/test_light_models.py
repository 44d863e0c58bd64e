"""The nine networks that the onnx package ships, built and run, against their stored outputs and ONNX Runtime.

Every second one, the others with an odd --seed; with ``--conformance`` (`make test-conformance`) all.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.importers.onnx import import_onnx
from tensorwright.runtime.engine import Engine
from tensorwright.tune import select

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NAMES = sorted(path.stem.removeprefix("light_") for path in LIGHT.glob("light_*.onnx"))


def stored_output(name: str) -> np.ndarray:
    tensor = onnx.TensorProto()
    tensor.ParseFromString((LIGHT / f"light_{name}_output_0.pb").read_bytes())
    return numpy_helper.to_array(tensor)


def stored_input(shape: tuple[int, ...]) -> np.ndarray:
    """The input for which the package stored the outputs: a ramp from 0 to 1."""
    size = int(np.prod(shape))
    return (np.arange(size).reshape(shape) / size).astype(np.float32)


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def test_there_are_nine() -> None:
    assert len(NAMES) == 9


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" in metafunc.fixturenames:
        config = metafunc.config
        every = config.getoption("--conformance")
        metafunc.parametrize("name", NAMES if every else NAMES[config.getoption("--seed") % 2 :: 2])


def test_matches_stored_output_and_onnxruntime(
    name: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        select, "LARGE", 1 << 40
    )  # Weights are equal here, which no others are: nothing is to be shared.
    path = LIGHT / f"light_{name}.onnx"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (feed,) = session.get_inputs()
    engine = Engine(build(import_onnx(path), BuildConfig(level=0, threads=2)))
    (output,) = engine({feed.name: stored_input(tuple(feed.shape))}).values()
    assert relative_error(output, stored_output(name)) < 1e-4
    fresh = rng.standard_normal(feed.shape, dtype=np.float32)
    (output,) = engine({feed.name: fresh}).values()
    (expected,) = session.run(None, {feed.name: fresh})
    assert relative_error(output, expected) < 1e-4
    assert np.abs(expected).max() > 0
