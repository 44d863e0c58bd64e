"""Networks exported by PyTorch, built and run, against ONNX Runtime; run by ``make test-torch``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from benchmarks.models import MODELS, export

from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.importers.onnx import import_onnx
from tensorwright.runtime.engine import Engine

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


def draw(name: str, batch: int, rng: np.random.Generator) -> np.ndarray:
    shape = (batch, *MODELS[name].shape[1:])
    return rng.integers(0, 1000, shape) if MODELS[name].takes_tokens else rng.standard_normal(shape, dtype=np.float32)


def compare(path: Path, engine: Engine, array: np.ndarray) -> None:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {session.get_inputs()[0].name: array})
    (actual,) = engine(array).values()
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", MODELS)
def test_matches_onnxruntime(name: str, folder: Path, rng: np.random.Generator) -> None:
    path = export(MODELS[name], folder / f"{name}.onnx")
    engine = Engine(build(import_onnx(path), BuildConfig(level=0, threads=2)))
    compare(path, engine, draw(name, 1, rng))
    path.unlink()


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2", "minilm"])
def test_runs_any_batch_without_rebuilding(name: str, folder: Path, rng: np.random.Generator) -> None:
    path = export(MODELS[name], folder / f"{name}-dynamic.onnx", dynamic_batch=True)
    engine = Engine(build(import_onnx(path), BuildConfig(level=0, threads=2)))
    for batch in (1, 3, 8):
        compare(path, engine, draw(name, batch, rng))
    path.unlink()


@pytest.mark.parametrize("instruction_set", ["avx2", "baseline"])
def test_matches_with_narrower_code(instruction_set: str, folder: Path, rng: np.random.Generator) -> None:
    path = export(MODELS["resnet18"], folder / "resnet18-narrow.onnx")
    options = BuildConfig(level=0, threads=2, instruction_set=instruction_set)
    compare(path, Engine(build(import_onnx(path), options)), draw("resnet18", 1, rng))
