"""Arithmetic on shapes while the model is read: what exporters compute becomes dimensions."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto

from importers.onnx.models import model_of, node, run
from tensorwright.base.errors import ImportFailure
from tensorwright.importers.onnx import import_onnx
from tensorwright.tensor.dim import Dim, symbol

B = symbol("b", 1, 2, 16)
S = symbol("s", 1, 128, 512)
NUMBERS = {
    "zero": np.int64([0]), "one": np.int64([1]), "two": np.int64([2]), "minus": np.int64([-1]), "four": np.int64([4]),
    "i0": np.int64(0), "i1": np.int64(1), "big": np.int64([2**63 - 1]), "f2": np.float32(2), "heads": np.int64([4, 3]),
}  # fmt: skip


def reshaping(*nodes: NodeProto, opset: int = 20) -> ModelProto:
    """A model with input [b, s, 12] whose nodes give the target `shape` of a reshape."""
    return model_of(
        [node("Shape", "x", "dims"), *nodes, node("Reshape", "x shape", "y")],
        {"x": (TensorProto.FLOAT, ["b", "s", 12])}, ["y"], opset, NUMBERS,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([node("Slice", "dims zero two", "bs"), node("Concat", "bs heads", "shape", axis=0)], (B, S, 4, 3)),
        ([node("Slice", "dims zero one", "b"), node("Concat", "b minus", "shape", axis=0)], (B, S * 12)),
        (
            [
                node("Gather", "dims i0", "b"), node("Gather", "dims i1", "s"), node("Mul", "b s", "bs"),
                node("Unsqueeze", "bs zero", "u"), node("Concat", "u minus", "shape", axis=0),
            ],
            (B * S, 12),
        ),
        ([node("Split", "dims", "b s c", num_outputs=3), node("Concat", "s b c", "shape", axis=0)], (S, B, 12)),
        (
            [
                node("Shape", "x", "last", start=-1), node("Div", "last four", "part"),
                node("Concat", "zero zero four part", "shape", axis=0),
            ],
            (B, S, 4, 3),
        ),
        (
            [
                node("Slice", "dims zero two", "bs"), node("ReduceProd", "bs", "n", keepdims=0),
                node("Reshape", "n minus", "u"), node("Concat", "u minus", "shape", axis=0),
            ],
            (B * S, 12),
        ),
        (
            [
                node("Size", "x", "n"), node("Unsqueeze", "n zero", "u"), node("Div", "u two", "half"),
                node("Concat", "half two", "shape", axis=0),
            ],
            (B * S * 6, 2),
        ),
        (
            [
                node("Cast", "dims", "c", to=TensorProto.INT32), node("Cast", "c", "d", to=TensorProto.INT64),
                node("Squeeze", "d", "e"), node("Identity", "e", "f"), node("Concat", "f one", "g", axis=0),
                node("Add", "g two", "h"), node("Sub", "h two", "i"), node("Where", "yes i g", "j"),
                node("Slice", "j zero minus", "k"), node("Concat", "k one", "shape", axis=0),
            ],
            (B, S, 12, 1),
        ),
    ],
)  # fmt: skip
def test_targets_of_reshapes(nodes: list[NodeProto], expected: tuple[Dim, ...], rng: np.random.Generator) -> None:
    model = reshaping(*nodes)
    model.graph.initializer.append(onnx_bool("yes", [True]))
    graph = import_onnx(model, shapes={"b": (1, 2, 16)})
    assert graph.outputs[0][1].type.shape == expected
    assert len(graph.order()) == 2, "shape arithmetic must leave nothing in the graph"
    x = rng.standard_normal((3, 5, 12)).astype(np.float32)
    (y,) = run(model, {"x": x})
    np.testing.assert_array_equal(y.reshape(-1), x.reshape(-1))


def onnx_bool(name: str, values: list[bool]) -> TensorProto:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array(values), name)


def test_dimensions_may_be_used_as_data(rng: np.random.Generator) -> None:
    nodes = [
        node("Shape", "x", "dims"),
        node("Cast", "dims", "numbers", to=TensorProto.FLOAT),
        node("Gather", "numbers i1", "s"),
        node("Sqrt", "s", "root"),
        node("Div", "x root", "y"),
    ]
    model = model_of(nodes, {"x": (TensorProto.FLOAT, ["b", "s"])}, ["y", "dims"], constants=NUMBERS)
    x = rng.standard_normal((3, 7)).astype(np.float32)
    y, dims = run(model, {"x": x})
    np.testing.assert_allclose(y, x / np.sqrt(7), rtol=1e-6)
    assert dims.tolist() == [3, 7]
    assert dims.dtype == np.int64


def test_expand_and_range_follow_symbols(rng: np.random.Generator) -> None:
    nodes = [
        node("Shape", "x", "dims"), node("Gather", "dims i1", "s"), node("Range", "i0 s i1", "positions"),
        node("Expand", "positions dims", "wide"), node("ConstantOfShape", "dims", "zeros"),
        node("Cast", "wide", "w", to=TensorProto.FLOAT), node("Add", "w zeros", "p"), node("Mul", "x p", "y"),
    ]  # fmt: skip
    model = model_of(nodes, {"x": (TensorProto.FLOAT, ["b", "s"])}, ["y"], constants=NUMBERS)
    x = rng.standard_normal((3, 7)).astype(np.float32)
    (y,) = run(model, {"x": x})
    np.testing.assert_allclose(y, x * np.arange(7), rtol=1e-6)


@pytest.mark.parametrize(
    ("starts", "ends", "steps", "expected"),
    [
        ([1], [2**63 - 1], [1], lambda x: x[:, 1:]),
        ([-3], [2**63 - 1], [1], lambda x: x[:, -3:]),
        ([0], [-1], [1], lambda x: x[:, :-1]),
        ([-1], [-(2**63)], [-1], lambda x: x[:, ::-1]),
        ([0], [1000], [2], lambda x: x[:, :1000:2]),
        ([1], [-1], [3], lambda x: x[:, 1:-1:3]),
    ],
)
def test_slices_of_symbolic_axes(starts, ends, steps, expected, rng: np.random.Generator) -> None:
    constants = {"starts": np.int64(starts), "ends": np.int64(ends), "axes": np.int64([1]), "steps": np.int64(steps)}
    nodes = [node("Slice", "x starts ends axes steps", "y")]
    model = model_of(nodes, {"x": (TensorProto.FLOAT, ["b", "s"])}, ["y"], constants=constants)
    for extent in (4, 5, 9):
        x = rng.standard_normal((2, extent)).astype(np.float32)
        (y,) = run(model, {"x": x}, {"s": (4, 5, 9)})
        np.testing.assert_array_equal(y, expected(x))


def test_a_slice_up_to_another_tensors_extent_keeps_the_symbol() -> None:
    """Position embeddings are cut to the length of the sequence, which is not longer than they are."""
    nodes = [
        node("Shape", "x", "dims"), node("Gather", "dims one", "s"), node("Slice", "table zero s zero", "cut"),
        node("Add", "x cut", "y"),
    ]  # fmt: skip
    table = np.arange(512, dtype=np.float32)
    model = model_of(nodes, {"x": (TensorProto.FLOAT, ["b", "s"])}, ["y"], constants={**NUMBERS, "table": table})
    assert import_onnx(model).outputs[0][1].type.shape == (symbol("b", 1, 1, 16), S)
    wide = import_onnx(model, shapes={"s": (1, 600, 1024)})
    assert wide.outputs[0][1].type.shape == (symbol("b", 1, 1, 16), symbol("s", 1, 512, 512))


def test_shapes_that_depend_on_data_are_refused() -> None:
    inputs = {"x": (TensorProto.FLOAT, [4]), "shape": (TensorProto.INT64, [2])}
    model = model_of([node("Reshape", "x shape", "y")], inputs, ["y"])
    with pytest.raises(ImportFailure, match="the target shape has to be known when the model is imported"):
        import_onnx(model)


@pytest.mark.parametrize(
    ("shape", "allow_zero", "message"),
    [([-1, -1], 0, "more than one -1"), ([5, -1], 0, "cannot be divided"), ([3, 3], 0, "expected 12 elements")],
)
def test_reshapes_that_do_not_fit(shape: list[int], allow_zero: int, message: str) -> None:
    nodes = [node("Reshape", "x shape", "y", allowzero=allow_zero, name="flatten")]
    model = model_of(nodes, {"x": (TensorProto.FLOAT, [4, 3])}, ["y"], constants={"shape": np.int64(shape)})
    with pytest.raises(ImportFailure, match=f"node 'flatten'.*{message}"):
        import_onnx(model)
