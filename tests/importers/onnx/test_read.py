"""Reading of files: what is accepted, and the errors for what is not."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, external_data_helper

from importers.onnx.models import model_of, node, run
from tensorwright.base.errors import ImportFailure
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.importers.onnx import import_onnx


def shifted(rng: np.random.Generator) -> tuple[ModelProto, np.ndarray, np.ndarray]:
    """``y = x + shift`` with a constant large enough to live beside the model."""
    x, shift = (rng.standard_normal((64, 33)).astype(np.float32) for _ in range(2))
    return model_of([node("Add", "x shift", "y")], {"x": x}, ["y"], constants={"shift": shift}), x, shift


def save_external(model: ModelProto, folder: Path, **options: object) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0, **options)
    return path


def compute(path: Path, x: np.ndarray) -> np.ndarray:
    return evaluate_graph(import_onnx(path), {"x": x})["y"]


def test_path_bytes_and_message_give_the_same(rng: np.random.Generator, tmp_path: Path) -> None:
    model, x, shift = shifted(rng)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    for source in (path, str(path), path.read_bytes(), model):
        np.testing.assert_array_equal(evaluate_graph(import_onnx(source), {"x": x})["y"], x + shift)


def test_a_message_may_change_afterwards(rng: np.random.Generator) -> None:
    model, x, shift = shifted(rng)
    graph = import_onnx(model)
    model.graph.initializer[0].raw_data = b"\0" * len(model.graph.initializer[0].raw_data)
    np.testing.assert_array_equal(evaluate_graph(graph, {"x": x})["y"], x + shift)


def test_external_data_is_mapped_and_outlives_its_file(rng: np.random.Generator, tmp_path: Path) -> None:
    model, x, shift = shifted(rng)
    path = save_external(model, tmp_path)
    graph = import_onnx(path)
    (tmp_path / "weights.bin").unlink()
    np.testing.assert_array_equal(evaluate_graph(graph, {"x": x})["y"], x + shift)


def test_external_data_may_be_unaligned(rng: np.random.Generator, tmp_path: Path) -> None:
    model, x, shift = shifted(rng)
    tensor = model.graph.initializer[0]
    (tmp_path / "weights.bin").write_bytes(b"abc" + tensor.raw_data)
    external_data_helper.set_external_data(tensor, "weights.bin", offset=3, length=len(tensor.raw_data))
    tensor.ClearField("raw_data")
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    np.testing.assert_array_equal(compute(tmp_path / "model.onnx", x), x + shift)


def test_links_to_files_beside_each_other_are_followed(rng: np.random.Generator, tmp_path: Path) -> None:
    model, x, shift = shifted(rng)
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    save_external(model, blobs)
    for name, blob in (("model.onnx", "model.onnx"), ("weights.bin", "0123")):
        (blobs / name).rename(blobs / blob)
        (snapshot / name).symlink_to(blobs / blob)
    np.testing.assert_array_equal(compute(snapshot / "model.onnx", x), x + shift)


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", "inner/../../weights.bin", "link.bin"])
def test_external_data_outside_of_the_folder_is_refused(
    location: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    model, _, _ = shifted(rng)
    inner = tmp_path / "inner"
    inner.mkdir()
    save_external(model, inner)
    (inner / "weights.bin").rename(tmp_path / "weights.bin")
    (inner / "link.bin").symlink_to(tmp_path / "weights.bin")
    read = onnx.load(inner / "model.onnx", load_external_data=False)
    read.graph.initializer[0].external_data[0].value = location
    (inner / "model.onnx").write_bytes(read.SerializeToString())
    with pytest.raises(ImportFailure, match="outside of the model's folder"):
        import_onnx(inner / "model.onnx")


def test_missing_and_short_external_files_are_named(rng: np.random.Generator, tmp_path: Path) -> None:
    model, _, _ = shifted(rng)
    path = save_external(model, tmp_path)
    content = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes(content[:-1])
    with pytest.raises(ImportFailure, match=r"tensor 'shift': bytes 0 to 8448 .* has 8447"):
        import_onnx(path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ImportFailure, match=r"weights\.bin: cannot be read .*; .* data of tensor 'shift'"):
        import_onnx(path)
    with pytest.raises(ImportFailure, match="import it by its path"):
        import_onnx(path.read_bytes())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\xff not a model at all", "not an ONNX model, or damaged"),
        (b"\x08\x08", "no field 'graph'"),
    ],
)
def test_what_is_no_model_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ImportFailure, match=message) as caught:
        import_onnx(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImportFailure, match=r"nothing\.onnx: cannot be read"):
        import_onnx(tmp_path / "nothing.onnx")


@pytest.mark.parametrize(("opset", "hint"), [(0, "expected 1 to"), (10_000, "upgrade the onnx package")])
def test_opsets_out_of_range_are_refused(opset: int, hint: str) -> None:
    model = model_of([node("Relu", "x", "y")], {"x": (TensorProto.FLOAT, [2])}, ["y"], opset)
    with pytest.raises(ImportFailure, match=f"opset {opset} .*{hint}"):
        import_onnx(model)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("Add", "x later", "y"), node("Relu", "x", "later")], r"node 'y' \(ai.onnx.Add, opset 20\): .*'later'"),
        ([node("Relu", "x", "y"), node("Relu", "x", "y")], "tensor 'y' is made twice"),
        ([node("Relu", "x", "z")], "output 'y' is made by no node"),
        ([node("Add", "x", "y")], "expected 2 inputs, found 1"),
        ([node("Relu", "x x", "y")], "expected 1 inputs, found 2"),
        ([node("MaxPool", "x", "y")], "attribute kernel_shape is required"),
        ([node("Add", "x w", "y", name="sum")], r"node 'sum' \(ai.onnx.Add, opset 20\): .*do not broadcast"),
        ([node("Softmax", "x", "y", axis=7)], "axis 7 is outside of a tensor of rank 2: expected -2 to 1"),
    ],
)
def test_wrong_models_name_the_node(nodes: list[onnx.NodeProto], message: str) -> None:
    constants = {"w": np.float32([1, 2])}
    model = model_of(nodes, {"x": (TensorProto.FLOAT, [2, 3])}, ["y"], constants=constants)
    with pytest.raises(ImportFailure, match=message):
        import_onnx(model)


def test_constants_larger_than_memory_name_the_node() -> None:
    constants = {"zero": np.int64(0), "end": np.int64(2**50), "one": np.int64(1)}
    model = model_of([node("Range", "zero end one", "y")], {}, ["y"], constants=constants)
    with pytest.raises(ImportFailure, match=r"node 'y' \(ai.onnx.Range"):
        import_onnx(model)


def test_tensors_of_the_wrong_size_are_named() -> None:
    model = model_of(
        [node("Add", "x w", "y")], {"x": (TensorProto.FLOAT, [3])}, ["y"], constants={"w": np.float32([1, 2, 3])}
    )
    model.graph.initializer[0].raw_data = b"\0" * 11
    with pytest.raises(ImportFailure, match=r"tensor 'w': type float32\[3\] needs 12 bytes, found 11"):
        import_onnx(model)


@settings(max_examples=300)
@given(st.data())
def test_damaged_models_are_refused_or_read(data: st.DataObject) -> None:
    """No damage leads to another error than ImportFailure."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    model = model_of(
        [
            node("Conv", "x w", "a", pads=[1, 1, 1, 1], strides=[2, 2]),
            node("Shape", "a", "s"),
            node("Gather", "s zero", "n"),
            node("Concat", "n minus", "shape", axis=0),
            node("Reshape", "a shape", "f"),
            node("Softmax", "f", "y", axis=1),
        ],
        {"x": (TensorProto.FLOAT, ["batch", 3, 8, 8])},
        ["y"],
        constants={"w": weights, "zero": np.int64([0]), "minus": np.int64([-1])},
    )
    content = bytearray(model.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(1, len(content))) :]
    with contextlib.suppress(ImportFailure):
        import_onnx(bytes(content))


def test_constant_types_that_do_not_exist_here_are_widened(rng: np.random.Generator) -> None:
    values = rng.integers(-8, 8, (3, 5))
    packed = onnx.helper.make_tensor("q", TensorProto.INT4, (3, 5), values.reshape(-1).tolist())
    scale = rng.uniform(0.5, 2, 3).astype(np.float32)
    x = rng.standard_normal((2, 3)).astype(np.float32)
    nodes = [node("DequantizeLinear", "q scale", "w", axis=0), node("MatMul", "x w", "y")]
    model = model_of(nodes, {"x": x}, ["y"], 21, {"scale": scale})
    model.graph.initializer.append(packed)
    (y,) = run(model, {"x": x})
    np.testing.assert_allclose(y, x @ (values * scale[:, None]), rtol=1e-5)
    model = model_of([node("Reshape", "q shape", "w")], {}, ["w"], 21, {"shape": np.int64([15])})
    model.graph.initializer.append(packed)
    with pytest.raises(ImportFailure, match="int4"):
        import_onnx(model)
