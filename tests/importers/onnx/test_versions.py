"""Operators whose attributes became inputs, or whose meaning changed, at their old versions: against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnxruntime
import pytest
from onnx import NodeProto

from importers.onnx.models import model_of, node, run


@dataclass(frozen=True)
class Case:
    opset: int
    node: NodeProto
    shape: tuple[int, ...] = (2, 3, 4, 6)
    constants: Mapping[str, object] = field(default_factory=dict)
    outputs: str = "y"

    def __str__(self) -> str:
        return f"{self.node.op_type}-{self.opset}"


CASES = [
    Case(7, node("Clip", "x", "y", min=-0.5, max=0.25)),
    Case(11, node("Clip", "x low _", "y"), constants={"low": np.float32(-0.1)}),
    Case(12, node("Clip", "x low high", "y"), constants={"low": np.float32(0.5), "high": np.float32(-0.5)}),
    Case(9, node("Slice", "x", "y", starts=[1, -3], ends=[100, -1], axes=[1, 3])),
    Case(10, node("Slice", "x a b c d", "y"), constants={"a": [3, 5], "b": [-100, 0], "c": [-2, 3], "d": [-1, -2]}),
    Case(7, node("Squeeze", "x", "y", axes=[0, 2]), (1, 3, 1, 4)),
    Case(11, node("Squeeze", "x", "y"), (1, 3, 1, 4)),
    Case(13, node("Squeeze", "x a", "y"), (1, 3, 1, 4), {"a": [-2]}),
    Case(7, node("Unsqueeze", "x", "y", axes=[0, 3])),
    Case(13, node("Unsqueeze", "x a", "y"), constants={"a": [-1, 1]}),
    Case(7, node("ReduceSum", "x", "y", axes=[1, -1], keepdims=0)),
    Case(11, node("ReduceSum", "x", "y")),
    Case(13, node("ReduceSum", "x a", "y", keepdims=0), constants={"a": [2]}),
    Case(13, node("ReduceSum", "x", "y", noop_with_empty_axes=1)),
    Case(13, node("ReduceMean", "x", "y", axes=[2, 3])),
    Case(18, node("ReduceMean", "x a", "y"), constants={"a": [2, 3]}),
    Case(13, node("ReduceLogSumExp", "x", "y", axes=[0])),
    Case(18, node("ReduceL2", "x a", "y", keepdims=0), constants={"a": [-1]}),
    Case(7, node("Pad", "x", "y", pads=[0, 0, 1, 2, 0, 0, 0, 3], value=1.5)),
    Case(10, node("Pad", "x", "y", pads=[0, 0, 1, 2, 0, 0, 0, 3], mode="reflect")),
    Case(11, node("Pad", "x p v", "y"), constants={"p": [0, 1, 0, 2, 1, 0, 0, -1], "v": np.float32(2)}),
    Case(18, node("Pad", "x p _ a", "y", mode="edge"), constants={"p": [1, 2, 3, 0], "a": [3, -2]}),
    Case(7, node("Split", "x", "y z", axis=3, split=[2, 4]), outputs="y z"),
    Case(11, node("Split", "x", "y z", axis=-1), outputs="y z"),
    Case(13, node("Split", "x s", "y z", axis=1), constants={"s": [1, 2]}, outputs="y z"),
    Case(18, node("Split", "x", "y z", axis=1, num_outputs=2), outputs="y z"),
    Case(7, node("Softmax", "x", "y")),
    Case(11, node("Softmax", "x", "y", axis=2)),
    Case(13, node("Softmax", "x", "y")),
    Case(13, node("Softmax", "x", "y", axis=1)),
    Case(11, node("LogSoftmax", "x", "y", axis=-1)),
    Case(13, node("LogSoftmax", "x", "y", axis=2)),
    Case(11, node("Hardmax", "x", "y")),
    Case(13, node("Hardmax", "x", "y", axis=1)),
    Case(7, node("Upsample", "x", "y", scales=[1.0, 1.0, 2.0, 3.0])),
    Case(9, node("Upsample", "x s", "y", mode="linear"), constants={"s": np.float32([1, 1, 2, 2])}),
    Case(10, node("Resize", "x s", "y"), constants={"s": np.float32([1, 1, 2.5, 0.5])}),
    Case(10, node("Resize", "x s", "y", mode="linear"), constants={"s": np.float32([1, 1, 1.5, 0.5])}),
    Case(11, node("Resize", "x r s", "y", mode="cubic"),
         constants={"r": np.zeros(0, np.float32), "s": np.float32([1, 1, 1.5, 2])}),
    Case(13, node("Resize", "x _ _ n", "y", mode="linear"), constants={"n": [2, 3, 7, 5]}),
    Case(7, node("BatchNormalization", "x s b m v", "y"), constants={
        "s": np.float32([1, 2, 3]), "b": np.float32([3, 2, 1]),
        "m": np.float32([0, 1, 0]), "v": np.float32([1, 2, 0.5]),
    }),
    Case(7, node("Dropout", "x", "y", ratio=0.9)),
    Case(12, node("Dropout", "x", "y m"), outputs="y m"),
    Case(7, node("TopK", "x", "y i", k=2, axis=2), outputs="y i"),
    Case(10, node("TopK", "x k", "y i"), constants={"k": [3]}, outputs="y i"),
    Case(11, node("TopK", "x k", "y i", largest=0, axis=1), constants={"k": [2]}, outputs="y i"),
    Case(7, node("Gemm", "x b c", "y", alpha=0.5, beta=2.0, transA=1), (4, 3),
         {"b": np.ones((4, 5), np.float32), "c": np.arange(5, dtype=np.float32)}),
    Case(11, node("Gemm", "x b", "y", transB=1), (4, 3), {"b": np.eye(5, 3, dtype=np.float32)}),
    Case(8, node("Sum", "x x x", "y")),
    Case(8, node("Mean", "x w", "y"), constants={"w": np.float32([[1], [2], [3], [4]])}),
    Case(8, node("Max", "x w", "y"), constants={"w": np.float32([0.1, 0.2, -0.3, 0, 1, -1])}),
    Case(11, node("OneHot", "i d v", "y", axis=1), constants={
        "i": np.int64([[0, 2], [1, -1]]), "d": np.int64([3]), "v": np.float32([2, 5]),
    }),
    Case(9, node("Flatten", "x", "y", axis=3)),
    Case(11, node("Flatten", "x", "y", axis=-2)),
    Case(9, node("PRelu", "x w", "y"), constants={"w": np.float32([[[0.1]], [[0.2]], [[0.3]]])}),
    Case(8, node("MaxPool", "x", "y", kernel_shape=[2, 2], auto_pad="SAME_LOWER", strides=[2, 2])),
    Case(10, node("AveragePool", "x", "y", kernel_shape=[3, 3], ceil_mode=1, pads=[1, 1, 1, 1], strides=[2, 2])),
    Case(7, node("AveragePool", "x", "y", kernel_shape=[3, 2], pads=[1, 0, 1, 1], count_include_pad=1)),
    Case(7, node("ConvTranspose", "x w", "y", strides=[2, 2], output_shape=[9, 13]),
         constants={"w": np.arange(3 * 2 * 9, dtype=np.float32).reshape(3, 2, 3, 3) / 20}),
    Case(11, node("ConvTranspose", "x w", "y", strides=[2, 3], auto_pad="SAME_UPPER"),
         constants={"w": np.arange(3 * 2 * 9, dtype=np.float32).reshape(3, 2, 3, 3) / 20}),
    Case(11, node("CumSum", "x a", "y", reverse=1, exclusive=1), constants={"a": np.int32(2)}),
    Case(18, node("GroupNormalization", "x s b", "y", num_groups=3, epsilon=1e-3),
         constants={"s": np.float32([1, 2, 3]), "b": np.float32([0, 1, 2])}),
    Case(21, node("GroupNormalization", "x s b", "y", num_groups=2), (2, 4, 5),
         {"s": np.float32([1, 2, 3, 4]), "b": np.float32([0, 1, 2, 3])}),
    Case(12, node("Einsum", "x w", "y", equation="bchw,hk->bkc"), constants={"w": np.ones((4, 5), np.float32)}),
    Case(12, node("Einsum", "x", "y", equation="...ij->...ji")),
    Case(12, node("Einsum", "x x", "y", equation="b...,b...->b...")),
    Case(12, node("Einsum", "x", "y", equation="ii"), (4, 4)),
    Case(11, node("Compress", "x c", "y", axis=1), constants={"c": [False, True, True, True, True]}),
    Case(11, node("Compress", "x c", "y"), (2, 3), {"c": [True, False, True, False, False, True, False, True]}),
    Case(14, node("Trilu", "x k", "y", upper=0), constants={"k": np.int64(-1)}),
    Case(13, node("SimplifiedLayerNormalization", "x s", "y", axis=-1, epsilon=1e-3),
         constants={"s": np.arange(6, dtype=np.float32)}),
    Case(17, node("LayerNormalization", "x s b", "y m", axis=2),
         constants={"s": np.full((4, 6), 2, np.float32), "b": np.ones((4, 6), np.float32)}, outputs="y m"),
]  # fmt: skip


def test_limits_that_cross_leave_what_is_no_number() -> None:
    model = model_of(
        [node("Clip", "x low high", "y")], {"x": (1, [6])}, ["y"], 13, {"low": np.float32(8), "high": np.float32(1)}
    )
    (found,) = run(model, {"x": np.float32([np.nan, np.inf, -np.inf, 0, 5, 9])})
    np.testing.assert_array_equal(found, np.float32([np.nan, 1, 1, 1, 1, 1]))


def test_before_opset_7_operands_broadcast_from_a_stated_axis(rng: np.random.Generator) -> None:
    """Against NumPy: ONNX Runtime does not read such models. Slopes are one per channel; Clip's bounds attributes."""
    nodes = [
        node("Add", "x w", "a", broadcast=1, axis=1),
        node("PRelu", "a w", "b"),
        node("Reshape", "b s", "y"),
        node("Clip", "b", "z", min=-0.25),
    ]
    x, w = rng.standard_normal((2, 3, 4, 3)).astype(np.float32), np.float32([0.5, -1, 2])
    model = model_of(nodes, {"x": x}, ["y", "z"], 6, {"w": w, "s": np.int64([6, -1])})
    total = x + w[:, None, None]
    sloped = np.where(total < 0, total * w[:, None, None], total)
    reshaped, clipped = run(model, {"x": x})
    np.testing.assert_allclose(reshaped, sloped.reshape(6, -1), rtol=1e-6)
    np.testing.assert_allclose(clipped, np.maximum(sloped, -0.25), rtol=1e-6)


def test_opset_1_has_attributes_that_became_inputs(rng: np.random.Generator) -> None:
    nodes = [
        node("Relu", "x", "a", consumed_inputs=[0]),
        node("Pad", "a", "b", paddings=[0, 0, 0, 1, 0, 0, 2, 0]),
        node("Reshape", "b", "c", shape=[0, -1, 4]),
        node("Tile", "c tiles axis", "d"),
        node("Cast", "d", "y", to="INT32"),
        node("Upsample", "x", "z", height_scale=2.0, width_scale=1.0),
    ]
    x = rng.uniform(-9, 9, (2, 1, 2, 3)).astype(np.float32)
    model = model_of(nodes, {"x": x}, ["y", "z"], 1, {"tiles": np.float32([2]), "axis": np.float32([1])})
    tiled, grown = run(model, {"x": x})
    padded = np.pad(np.maximum(x, 0), ((0, 0), (0, 0), (0, 2), (1, 0)))
    np.testing.assert_array_equal(tiled, np.tile(padded.reshape(2, -1, 4), (1, 2, 1)).astype(np.int32))
    np.testing.assert_array_equal(grown, np.repeat(x, 2, axis=2))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_onnx_runtime(case: Case, rng: np.random.Generator) -> None:
    x = rng.standard_normal(case.shape).astype(np.float32)
    constants = {name: np.asarray(value) for name, value in case.constants.items()}
    model = model_of([case.node], {"x": x}, case.outputs.split(), case.opset, constants)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for actual, expected in zip(run(model, {"x": x}), session.run(None, {"x": x}), strict=True):
        assert actual.dtype == expected.dtype
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
