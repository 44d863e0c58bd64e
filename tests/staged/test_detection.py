"""The end of a detection network: boxes are chosen natively, and as many as remain are gathered."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

import tensorwright as tw
from importers.onnx.models import model_of, node
from tensorwright.importers.failures import UnsupportedNodes
from tensorwright.importers.onnx import import_onnx

NODES = [
    node("Sigmoid", "logits", "scores"),
    node("NonMaxSuppression", "boxes scores most overlap lowest", "chosen", name="suppress"),
    node("Gather", "chosen two", "place", axis=1),
    node("Gather", "boxes zero", "first", axis=0),
    node("Gather", "first place", "kept", axis=0),
    node("Slice", "chosen one three axes", "pairs"),
    node("Mul", "kept half", "scaled"),
]
CONSTANTS = {
    "most": np.int64([20]), "overlap": np.float32([0.4]), "lowest": np.float32([0.6]), "half": np.float32(0.5),
    "two": np.int64(2), "zero": np.int64(0), "one": np.int64([1]), "three": np.int64([3]), "axes": np.int64([1]),
}  # fmt: skip


def drawn(rng: np.random.Generator, shift: float, classes: int = 3, count: int = 150) -> dict[str, np.ndarray]:
    corners = rng.uniform(0, 10, (1, count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0.5, 4, (1, count, 2))], axis=2)
    return {
        "boxes": boxes.astype(np.float32),
        "logits": (rng.standard_normal((1, classes, count)) + shift).astype(np.float32),
    }


def test_as_onnx_runtime(rng: np.random.Generator) -> None:
    model = model_of(NODES, drawn(rng, 0), ["pairs", "scaled"], constants=CONSTANTS)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    engine = tw.build(model, level=0, threads=2, timing_cache="")
    assert isinstance(engine, tw.StagedEngine)
    with engine:
        assert len(engine.engines) == 1, "the first part is compiled when the engine is built"
        for shift in (0, -1, 1, -2, 0.5, -9):
            arrays = drawn(rng, shift)
            for actual, expected in zip(engine(arrays).values(), session.run(None, arrays), strict=True):
                np.testing.assert_allclose(actual, expected, rtol=1e-6)
        assert not engine.hosted
        assert len(engine.engines) <= 4


def test_a_plan_cannot_leave_sizes_open(rng: np.random.Generator) -> None:
    with pytest.raises(UnsupportedNodes, match="the size of its result follows from data"):
        import_onnx(model_of(NODES, drawn(rng, 0), ["pairs"], constants=CONSTANTS))
