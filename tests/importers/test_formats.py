"""Which format a model is in, what files are that are no models, and engines of all formats."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

import tensorwright as tw
from caffe_models import definition, layer, model
from tensorflow_graphs import GraphMaker
from tensorwright import importers
from tensorwright.importers.formats import format_of, formats
from uff_models import ModelMaker

KERNEL = np.arange(12, dtype=np.float32).reshape(4, 3) / 5 - 1
X = np.array([[1, -2, 3, 0.5], [0, 1, 2, 3]], np.float32)
"""Every model here computes ``X @ KERNEL``."""


def onnx_bytes() -> bytes:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor("w", TensorProto.FLOAT, KERNEL.shape, KERNEL.reshape(-1))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def frozen() -> GraphMaker:
    graph = GraphMaker()
    graph.add("MatMul", graph.placeholder((-1, 4)), graph.constant(KERNEL), name="y")
    return graph


def uff_bytes() -> bytes:
    maker = ModelMaker()
    maker.output(maker.node("FullyConnected", maker.input((-1, 4)), maker.number(KERNEL), name="y"))
    return maker.serialized()


PRODUCT = "inner_product_param { num_output: 3 bias_term: false }"


def caffe_text(batch: int = 2) -> bytes:
    return definition(
        layer(
            "InnerProduct", "inner_product_param { num_output: 3 bias_term: false }", name="y", bottoms="x", tops="y"
        ),
        x=(batch, 4),
    )


def caffe_model() -> bytes:
    return model({"y": [KERNEL.T.copy()]})


FILES = {
    "m.onnx": (onnx_bytes, "an ONNX model"),
    "m.pb": (lambda: frozen().bytes(), "a frozen TensorFlow graph"),
    "m.pbtxt": (lambda: str(frozen().message).encode(), "a frozen TensorFlow graph"),
    "m.uff": (uff_bytes, "a UFF model"),
    "m.prototxt": (caffe_text, "a Caffe network"),
    "m.caffemodel": (caffe_model, "a Caffe network"),
}


@pytest.mark.parametrize("name", FILES)
def test_content_decides_whatever_a_file_is_called(name: str, tmp_path: Path) -> None:
    make, what = FILES[name]
    for path in (tmp_path / name, tmp_path / "model", tmp_path / "model.bin"):
        path.write_bytes(make())
        assert format_of(path).what == what
    assert format_of(make()).what == what


@pytest.mark.parametrize("name", [name for name in FILES if name != "m.caffemodel"])
def test_an_engine_of_every_format(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name][0]())
    (tmp_path / "m.caffemodel").write_bytes(caffe_model())
    engine = tw.build(path, level=0, threads=1)
    np.testing.assert_allclose(engine({"x": X})["y"], X @ KERNEL, atol=1e-5)
    batch = tw.build(path, level=0, threads=1, shapes={"batch": (1, 2, 5)})
    assert batch.max_batch_size == 5
    np.testing.assert_allclose(batch({"x": X[:1]})["y"], X[:1] @ KERNEL, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in FILES if name not in ("m.onnx", "m.caffemodel")])
def test_outputs_can_be_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name][0]())
    (tmp_path / "m.caffemodel").write_bytes(caffe_model())
    assert list(tw.build(path, level=0, threads=1, outputs=["x", "y"])({"x": X})) == ["x_output", "y"]
    with pytest.raises(tw.ImportFailure, match=r"'z'.*(nearest|similar)"):
        tw.build(path, outputs=["z"])


def test_a_caffe_network_and_its_weights_find_each_other(tmp_path: Path, capsys) -> None:
    (tmp_path / "m.prototxt").write_bytes(caffe_text())
    (tmp_path / "other.caffemodel").write_bytes(caffe_model())
    for weights in (tmp_path / "other.caffemodel", caffe_model()):
        engine = tw.build(tmp_path / "m.prototxt", weights=weights, level=0, threads=1)
        np.testing.assert_allclose(engine(X)["y"], X @ KERNEL, atol=1e-5)
    tw.build(tmp_path / "m.prototxt", level=0, threads=1)
    assert "all weights are random" in capsys.readouterr().err
    with pytest.raises(tw.ImportFailure, match=r"whose definition 'other.prototxt' is not beside it"):
        tw.build(tmp_path / "other.caffemodel")
    (tmp_path / "m.caffemodel").write_bytes(caffe_model())
    engine = tw.build(tmp_path / "m.caffemodel", level=0, threads=1)
    np.testing.assert_allclose(engine(X)["y"], X @ KERNEL, atol=1e-5)


def test_shapes_of_a_caffe_network(tmp_path: Path) -> None:
    for shapes, batch in (({"x": (-1, 4)}, 16), ({"x": ((1, 2, 3), 4)}, 3), ({"x": (("n", 1, 2, 7), 4)}, 7)):
        engine = tw.build(caffe_text(), weights=caffe_model(), shapes=shapes, level=0, threads=1)
        assert engine.max_batch_size == batch
    assert tw.build(caffe_text(), weights=caffe_model(), shapes={"batch": 4}, level=0).get_binding_shape("x") == (4, 4)
    with pytest.raises(tw.ImportFailure, match="the network has no input 'z'; it has 'x'"):
        tw.build(caffe_text(), shapes={"z": (1, 4)})


def test_a_uff_model_keeps_the_order_of_its_file(rng: np.random.Generator) -> None:
    maker = ModelMaker()
    maker.output(maker.node("Flatten", maker.input((-1, 2, 2, 3)), name="y"))
    x = rng.normal(size=(2, 2, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(tw.build(maker.serialized(), level=0)(x)["y"], x.reshape(2, -1))
    maker = ModelMaker()
    maker.output(maker.node("Flatten", maker.input((-1, -1, 3)), name="y"))
    with pytest.raises(tw.ImportFailure, match="only the batch of a UFF model may be open"):
        tw.build(maker.serialized())
    y = tw.build(maker.serialized(), shapes={"x": (None, 4, 3)}, level=0)(x.reshape(2, 4, 3))["y"]
    np.testing.assert_array_equal(y, x.reshape(2, -1))


STRANGERS = {
    "pointer.onnx": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 98316718\n",
        "a Git LFS pointer.*git lfs pull",
    ),
    "model.pt": (b"PK\x03\x04\x00\x00", "a ZIP archive.*torch.onnx.export"),
    "old.pth": (b"\x80\x02\x8a\nl\xfc", "a pickle.*torch.onnx.export"),
    "model.h5": (b"\x89HDF\r\n\x1a\n\0\0", "HDF5"),
    "model.tflite": (b"\x1c\0\0\0TFL3\0\0", "TensorFlow Lite"),
    "model.onnx.gz": (gzip.compress(b"abc"), "gzip; unpack it"),
    "page.onnx": (b"\n<!DOCTYPE html><html>", "a web page; the download went wrong"),
    "saved_model.pb": (b"\x08\x01\x12\x04\x0a\x02\x12\x00", "SavedModel.*convert_variables_to_constants_v2"),
    "text.onnx": (b'ir_version: 8\nproducer_name: "me"', "an ONNX model as text.*format='textproto'"),
    "uff.pbtxt": (b"version: 1\ndescriptor_core_version: 1\n", "a UFF model as text, which leaves the weights out"),
    "nothing.bin": (b"hello world", "no format of a model is known in which it begins with b'hello world'"),
    "empty.bin": (b"", "it is empty"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_files_that_are_no_models_are_named(name: str, tmp_path: Path) -> None:
    content, message = STRANGERS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(tw.ImportFailure, match=message) as caught:
        tw.build(tmp_path / name)
    assert name in str(caught.value)
    with pytest.raises(tw.ImportFailure, match=message):
        tw.build(content)


def test_the_parsers_name_them_too(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(STRANGERS["pointer.onnx"][0])
    network = tw.Builder().create_network(1)
    onnx, uff, caffe = tw.OnnxParser(network), tw.UffParser(), tw.CaffeParser()
    assert not onnx.parse_from_file(path)
    assert not uff.parse(path, network)
    assert caffe.parse(path, None, network) is None
    for parser in (onnx, uff, caffe):
        assert "a Git LFS pointer" in str(parser.get_error(0))


def test_folders_and_pipes(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    with pytest.raises(tw.ImportFailure, match="found a folder; give the file"):
        tw.build(tmp_path / "saved")
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(tw.ImportFailure, match=r"the folder of a SavedModel; .*signatures\['serving_default'\]"):
        tw.build(tmp_path / "saved")
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(tw.ImportFailure, match="an ONNX model, found something that is not an ordinary file"):
        tw.build(tmp_path / "pipe.onnx")


def test_a_format_is_a_folder() -> None:
    folders = {entry.name for entry in Path(importers.__file__).parent.iterdir() if (entry / "__init__.py").exists()}
    assert len(formats()) == len(folders)
