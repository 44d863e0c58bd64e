"""Models that ask for what cannot be: one clean error each, soon and in little memory; and what names may hold."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

import tensorwright as tw
from importers.onnx.models import model_of, node
from tensorwright.base.errors import BuildError, ImportFailure, TensorwrightError
from tensorwright.build.sizes import require_tensors
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.importers.onnx import import_onnx
from tensorwright.passes.pipeline import optimise

FLOAT = TensorProto.FLOAT
MUCH = 64 << 20
X = {"x": (FLOAT, [4])}
IMAGE = {"x": (FLOAT, [1, 4, 4, 4])}


def constant(name: str, array: object) -> TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def doubled(times: int, last: str = "") -> ModelProto:
    nodes = [node("Concat", f"c{n} c{n}", f"c{n + 1}", axis=0) for n in range(times)]
    nodes += [node(last, f"c{times}", "y")] if last else []
    return model_of(nodes, {"c0": (FLOAT, [4])}, ["y" if last else f"c{times}"])


def with_constant(operator: str, inputs: str, *constants: TensorProto, **attributes: object) -> ModelProto:
    given = {} if any(tensor.name == "x" for tensor in constants) else X
    model = model_of([node(operator, inputs, "y", **attributes)], given, ["y"])
    model.graph.initializer.extend(constants)
    return model


IMPOSSIBLE = {
    "pad": with_constant("Pad", "x p", constant("p", np.array([0, 1 << 62]))),
    "pads": with_constant("Pad", "x p", constant("p", np.array([1 << 62, 1 << 62]))),
    "tile": with_constant("Tile", "x n", constant("n", np.array([10**18]))),
    "expand": with_constant("Expand", "x n", constant("n", np.array([1 << 60, 4]))),
    "filled": with_constant("ConstantOfShape", "n", constant("n", np.array([1 << 60]))),
    "concatenations": doubled(60),
    "range": with_constant(
        "Range", "a b c", constant("a", np.int64(0)), constant("b", np.int64(1 << 40)), constant("c", np.int64(1))
    ),
    "endless range": with_constant(
        "Range", "a b c", constant("a", np.int64(0)), constant("b", np.int64(9)), constant("c", np.int64(0))
    ),
    "scale": with_constant("Resize", "x _ s", constant("s", np.array([1e30], np.float32))),
    "endless scale": with_constant("Resize", "x _ s", constant("s", np.array([np.inf], np.float32))),
    "expansion of nothing": with_constant("Expand", "x s", constant("s", np.array([1 << 44, 0, 4]))),
    "input": model_of([node("Relu", "x", "y")], {"x": (FLOAT, [1 << 62, 1 << 62])}, ["y"]),
    "input of nothing": model_of([node("Relu", "x", "y")], {"x": (FLOAT, [1 << 62, 0, 1 << 62])}, ["y"]),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_tensors_that_cannot_exist(name: str) -> None:
    tracemalloc.start()
    with pytest.raises(ImportFailure, match=r"no tensor has so many|expected at most|has no end|finite numbers"):
        import_onnx(IMPOSSIBLE[name])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MUCH


@pytest.mark.parametrize("model", [doubled(38), doubled(38, "ReduceSum")], ids=["output", "inside"])
def test_tensors_that_no_machine_can_time(model: ModelProto) -> None:
    graph = import_onnx(model)
    require_tensors(graph, is_timed=False)
    with pytest.raises(BuildError, match=r"tensor 'c\d+' .* kernels cannot be timed on a machine with \d+: build at"):
        tw.build(model, level=2, threads=1)


def test_giants_are_not_computed_to_be_folded() -> None:
    nodes = [node("Tile", "c n", "t"), node("ReduceSum", "t", "s"), node("Add", "x s", "y")]
    model = model_of(nodes, X, ["y"])
    model.graph.initializer.extend([constant("c", np.ones(4, np.float32)), constant("n", np.array([10**9]))])
    tracemalloc.start()
    graph = optimise(import_onnx(model))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MUCH
    assert max(value.type.max_bytes for value in graph.order()) > MUCH


WRONG = {
    "Transpose": (
        node("Transpose", "x", "y", perm=1.5),
        IMAGE,
        "attribute perm must be a list, each item an integer, found 1.5",
    ),
    "Not of floats": (node("Not", "x", "y"), X, "'not' is of bool, found float32; cast it"),
    "And of floats": (node("And", "x x", "y"), X, "'and' is of bool, found float32; cast it"),
    "LpPool": (node("LpPool", "x", "y", kernel_shape=[2, 2], p=0), IMAGE, "p: expected at least 1, found 0"),
    "GlobalLpPool": (node("GlobalLpPool", "x", "y", p=-2), IMAGE, "p has to be at least 1, found -2"),
    "DepthToSpace": (node("DepthToSpace", "x", "y", blocksize=-2), IMAGE, "blocksize has to be at least 1, found -2"),
    "SpaceToDepth": (node("SpaceToDepth", "x", "y", blocksize=0), IMAGE, "blocksize has to be at least 1, found 0"),
    "GatherND": (
        node("GatherND", "x i", "y", batch_dims=-1),
        {"x": (FLOAT, [3, 4]), "i": (TensorProto.INT64, [3, 1])},
        "batch_dims: expected at least 0, found -1",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_attributes_and_types_that_make_no_sense(name: str) -> None:
    proto, inputs, message = WRONG[name]
    with pytest.raises(TensorwrightError, match=message):
        import_onnx(model_of([proto], inputs, ["y"]))


@pytest.mark.parametrize(("keepdims", "rank"), [(0, 0), (1, 1), (2, 1), (-1, 1)])
def test_every_flag_but_zero_is_set(keepdims: int, rank: int) -> None:
    graph = import_onnx(model_of([node("ReduceSum", "x", "y", keepdims=keepdims)], X, ["y"]))
    assert graph.outputs[0][1].type.rank == rank


@pytest.mark.parametrize("where", [b"\x12\x01n", b"\x0a\x01x", b"\x0a\x01y"], ids=["dimension", "input", "output"])
def test_names_that_are_not_utf_8(where: bytes) -> None:
    content = model_of([node("Relu", "x", "y")], {"x": (FLOAT, ["n"])}, ["y"]).SerializeToString()
    assert where in content
    with pytest.raises(ImportFailure, match=r"expected names in UTF-8, found b'\\xff'"):
        import_onnx(content.replace(where, where[:-1] + b"\xff"))


def external(location: str) -> ModelProto:
    model = model_of([node("Add", "x w", "y")], X, ["y"])
    tensor = model.graph.initializer.add(name="w", data_type=FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return model


def test_locations_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for location, message in (
        ("pipe", "expected external data of tensor 'w', found something that is not an ordinary file"),
        (".", "found a folder"),
        ("a\0b", r"no file can be called 'a\\x00b'"),
        ("a" * 5000, "cannot be read"),
    ):
        (tmp_path / "m.onnx").write_bytes(external(location).SerializeToString())
        with pytest.raises(ImportFailure, match=message):
            evaluate_graph(import_onnx(tmp_path / "m.onnx"), {"x": np.ones(4, np.float32)})
