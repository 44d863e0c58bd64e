"""Whole networks in tile registers and in float16, which are emulated where the processor has neither."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import tensorwright as tw
from emulation import pretend
from targets import EXECUTABLE

TARGET = "avx512_amx"
needs_tiles = pytest.mark.skipif(TARGET not in EXECUTABLE, reason="this processor neither has nor emulates AMX")


@pytest.fixture
def tiles(monkeypatch):
    """A processor that has tile registers and arithmetic in float16, whatever this one has."""
    pretend(monkeypatch, TARGET)


def model(rng: np.random.Generator) -> onnx.ModelProto:
    """Convolutions around a residual addition, then self-attention over the positions, then a linear layer."""
    shapes = {"a": (32, 8, 3, 3), "b": (32, 32, 1, 1), "c": (64, 32, 3, 3), "d": (64, 10)}
    constants = {
        name: (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        for name, shape in shapes.items()
    }
    constants |= {"rows": np.int64([0, 64, -1]), "scale": np.float32(0.125)}
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["h0"], pads=[1] * 4),
        helper.make_node("Relu", ["h0"], ["h1"]),
        helper.make_node("Conv", ["h1", "b"], ["h2"]),
        helper.make_node("Add", ["h1", "h2"], ["h3"]),
        helper.make_node("Conv", ["h3", "c"], ["h4"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Reshape", ["h4", "rows"], ["h5"]),
        helper.make_node("Transpose", ["h5"], ["q"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "h5"], ["s0"]),
        helper.make_node("Mul", ["s0", "scale"], ["s1"]),
        helper.make_node("Softmax", ["s1"], ["p"], axis=-1),
        helper.make_node("MatMul", ["p", "q"], ["v"]),
        helper.make_node("MatMul", ["v", "d"], ["y"]),
    ]
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    x = helper.make_tensor_value_info("x", 1, [1, 8, 14, 14])
    y = helper.make_tensor_value_info("y", 1, [1, 49, 10])
    graph = helper.make_graph(nodes, "tiles", [x], [y], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@needs_tiles
@pytest.mark.parametrize(("level", "threads"), [(0, 1), (1, 2)])
def test_a_network_in_bfloat16(tiles, level: int, threads: int, rng: np.random.Generator) -> None:
    made, x = model(rng), rng.standard_normal((1, 8, 14, 14)).astype(np.float32)
    options = {"layer_precision": {"*": "bf16"}, "timing_cache": "", "instruction_set": TARGET}
    engine = tw.build(made, precision="bf16", level=level, threads=threads, **options)
    (expected,) = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})
    found = engine({"x": x})["y"]
    assert np.abs(found - expected).max() <= 0.03 * np.abs(expected).max()
    used = {str(step["tactic"]) for step in engine.report["steps"]}
    assert level or {"matmul_tiles", "convolution_tiles"} <= used, used


@needs_tiles
@pytest.mark.parametrize(("level", "threads", "target"), [(0, 1, TARGET), (1, 2, "avx512_fp16"), (1, 3, TARGET)])
def test_a_network_in_float16(tiles, level: int, threads: int, target: str, rng: np.random.Generator) -> None:
    made, x = model(rng), rng.standard_normal((1, 8, 14, 14)).astype(np.float32)
    options = {"timing_cache": "", "instruction_set": target, "check_plan": True}
    held = {"layer_precision": {"*": "fp16"}} if level else {}
    engine = tw.build(made, precision="fp16", level=level, threads=threads, **options, **held)
    (expected,) = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})
    found = engine({"x": x})["y"]
    assert np.abs(found - expected).max() <= 0.004 * np.abs(expected).max()
    used = {str(step["tactic"]) for step in engine.report["steps"]}
    assert level or {"matmul_halves", "convolution_halves"} <= used, used
    exact = tw.build(made, precision="fp16", level=0, threads=threads, fast_algorithms=False, **options)
    assert not any("halves" in str(step["tactic"]) for step in exact.report["steps"])
